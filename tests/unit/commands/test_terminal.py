"""What strangers write is shown, and steers no terminal."""

import json
import subprocess
import sys
from ast import literal_eval

import pytest

from router.commands.terminal import say, say_json

STEERS = "a\x1b[31m\x9b2J\x7f\u202e\u2028\U000e0001"


def test_json_has_what_would_steer_a_terminal_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"subject": STEERS, "text": "Größe 😀\nnext"}
    say_json(value)
    written = capsys.readouterr().out
    assert json.loads(written) == value
    assert "Größe 😀\\nnext" in written
    assert all(line.isprintable() for line in written.split("\n"))


def test_text_leaves_it_out(capsys: pytest.CaptureFixture[str]) -> None:
    say(STEERS)
    assert capsys.readouterr().out.rstrip("\n").isprintable()


READS = """
import asyncio, sys
from router.commands.terminal import read_line

async def main():
    task = asyncio.create_task(read_line("say"))
    if sys.argv[1:]:
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return "done"
    return await task

print(repr(asyncio.run(main())))
"""


@pytest.mark.parametrize(("typed", "read"), [("one\ntwo\n", "one"), ("", None), ("no end", "no end")])
def test_a_line_is_read(typed: str, read: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READS], input=typed, capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stderr == "say: "
    line = literal_eval(done.stdout)
    assert line == read or line.splitlines()[0] == read


def test_a_program_ends_that_waits_for_a_line_no_more() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READS, "cancel"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.wait(timeout=20) == 0  # nobody types
        assert process.stdout is not None
        assert process.stdout.read() == b"'done'\n"
        assert process.stderr is not None
        assert process.stderr.read() == b"say: \n"
