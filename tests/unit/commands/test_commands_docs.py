"""docs/commands.md tells every command, and none that there is not."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from router.cli import app
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "commands.md"


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for part, one in inner.items():
            yield from commands(one, f"{name} {part}".strip())


def test_every_command_is_told() -> None:
    headings = re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = [re.sub(r" [\[A-Z-].*", "", one) for heading in headings for one in re.findall(r"`([^`]*)`", heading)]
    assert sorted(told) == sorted(name for name, _ in commands(typer.main.get_command(app)))


def test_every_command_and_option_has_help() -> None:
    for name, command in commands(typer.main.get_command(app)):
        assert command.help, name
        assert len(command.help.splitlines()[0]) <= 70, f"{name}: it would be cut in the list of commands"
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"
