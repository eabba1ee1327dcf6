"""What strangers write is shown, and steers no terminal."""

import json

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
