"""What is logged, how, and what never is; each in a process of its own, since logging is configured once."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT

TALK = """
import logging, warnings
import structlog
from router.log import configure

def fail(password):
    raise ValueError("it broke")

log = structlog.get_logger("router.somewhere")
configure({level!r}, {form!r})
log.debug("whispered")
log.info("said", profile="staff", mailbox="jörg@in.test")
logging.getLogger("somelib").warning("a library's %s", "word")
for library in ("aioimaplib.aioimaplib", "mail.log", "mail.debug"):
    logging.getLogger(library).error("LOGIN ann hush")
logging.getLogger("asyncpg.pool").error("LOGIN was the last that the pool tried")
logging.getLogger("asyncio").info("a detail of asyncio")
warnings.warn("old")
try:
    fail("hush")
except ValueError as error:
    log.error("failed", exc_info=error)
"""


def talk(level: str, form: str) -> str:
    code = TALK.format(level=level, form=form)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    assert "LOGIN" not in done.stderr
    assert 'hush"' not in done.stderr.replace('fail("hush")', "")  # the source's own line stands in a traceback
    return done.stderr


@pytest.mark.parametrize("form", ["json", "auto"])
def test_json_has_one_object_a_line(form: str) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in talk("info", form).splitlines()]
    said = lines[0]
    assert said.pop("timestamp").endswith("Z")
    assert said == {
        "message": "said", "level": "info", "logger": "router.somewhere", "profile": "staff",
        "mailbox": "jörg@in.test",
    }  # fmt: skip
    assert [(line["level"], line["message"]) for line in lines[1:2]] == [("warning", "a library's word")]
    assert lines[2]["logger"] == "py.warnings"
    assert lines[3]["message"] == "failed"
    assert "ValueError: it broke" in lines[3]["exception"]
    assert len(lines) == 4


def test_people_read_lines_without_colors_where_there_is_no_terminal() -> None:
    text = talk("info", "console")
    assert "\x1b" not in text
    assert "said" in text.splitlines()[0]
    assert "mailbox=jörg@in.test" in text.splitlines()[0]
    assert "ValueError: it broke" in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_a_stranger_says_steers_no_terminal_and_forges_no_line(form: str) -> None:
    code = r"""
import structlog
from router.log import configure

configure("info", FORM)
says = "a\x1b[31m\x9b2J\u202e\r\nforged"
log = structlog.get_logger("router.somewhere")
log.warning("it said: %s" % says, words=says, word="\x1b[31m\x9b2J")
try:
    raise ValueError(says)
except ValueError:
    log.error("failed", exc_info=True)
""".replace("FORM", repr(form))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    lines = done.stderr.decode().split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines[:2] if line.startswith("forged")] == []
    assert "\\u001b[31m\\u009b2J" in lines[0]


def test_variables_of_a_traceback_are_not_shown() -> None:
    assert "password = " not in talk("info", "console")


@pytest.mark.parametrize(("level", "count"), [("debug", 5), ("warning", 3), ("error", 1)])
def test_the_level_holds_for_us_and_for_libraries(level: str, count: int) -> None:
    assert len(talk(level, "json").splitlines()) == count
