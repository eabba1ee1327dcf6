"""The help of every command, as a new admin reads it in a terminal of 80 columns."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from router.cli import app

_RUNNER = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})


def _commands(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, *path, name)


_ALL = list(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", _ALL, ids=" ".join)
def test_what_a_command_is_for_is_told_whole(path: tuple[str, ...]) -> None:
    said = _RUNNER.invoke(app, [*path, "--help"])
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert not [line for line in lines[1:] if line.endswith("...")], "a summary is cut: begin with less"
    assert max(map(len, lines)) <= 80
    assert "...]..." not in said.output


def test_a_wrong_id_is_refused_with_how_one_is_written() -> None:
    for arguments in (["split", "abc"], ["explain", "--email", "abc"], ["records", "merge", "abc", "def"]):
        said = _RUNNER.invoke(app, arguments)
        assert said.exit_code == 2
        assert "'abc' is no id: write it as the CRM has it, such as 0f8fad5b-" in said.output
