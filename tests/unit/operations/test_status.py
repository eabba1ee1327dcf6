"""What is asked for, and why emails failed, in words."""

import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from router.operations.status import Only, Process, words_of_code, words_of_silent
from tests.servers.process import wait_until

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("only", "profile", "mailbox", "wanted"),
    [
        (Only(), "staff", "", True),
        (Only("staff"), "staff", "ann@in.test", True),
        (Only("incoming.staff"), "staff", "", True),
        (Only("sales"), "staff", "", False),
        (Only(mailbox="Ann@IN.test"), "staff", "ann@in.test", True),
        (Only(mailbox="ann@in.test"), "staff", "bob@in.test", False),
        (Only(mailbox="ann@in.test"), "staff", "", False),
        (Only("staff", "ann@in.test"), "sales", "ann@in.test", False),
    ],
)
def test_only_what_is_asked_for(only: Only, profile: str, mailbox: str, wanted: bool) -> None:
    assert only.wants(profile, mailbox) is wanted


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "no relay was asked"),
        ("5", "refused (5)"),
        ("5.1", "a wrong address (5.1)"),
        ("5.7", "policy or security (5.7)"),
        ("5.9", "refused (5.9)"),
        ("4", "given up"),
        ("4.4", "network or routing (4.4, given up)"),
    ],
)
def test_a_code_in_words(code: str, words: str) -> None:
    assert words_of_code(code) == words


def test_of_a_silent_process_it_is_known_here_whether_it_is_there() -> None:
    sleeper = [sys.executable, "-c", "input()", "router"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE) as process:  # ours
        there = Process(uuid4(), socket.gethostname(), process.pid, NOW, NOW, False, None, (), {})
        wait_until(lambda: b"router" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "it runs")
        assert words_of_silent(there).endswith("its process is still there: is it stopped or hung?")
        assert "ended without a word" in words_of_silent(replace(there, host="elsewhere"))
        process.communicate(b"\n")
    assert words_of_silent(there) == (
        f"{there.host} (pid {there.pid}) ended without a word; it was last heard on 2026-11-28 12:00 UTC"
    )
