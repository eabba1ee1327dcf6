"""`doctor`: asks everything at once, and says the worst first."""

from collections.abc import Sequence

import typer

from router import app
from router.commands.terminal import carry_out, say, say_json, say_marked
from router.operations import doctor as operation
from router.operations.doctor import Finding
from router.operations.words import count
from router.settings import Settings

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED", "bold red")}
_WIDTH = max(len(check.name) for check in operation.CHECKS)


def examine(*, as_json: bool) -> None:
    """Say what is wrong and what to do about it; status 1 if something does not work."""

    async def work(settings: Settings) -> Sequence[Finding]:
        return await operation.examine(settings, lambda: app.database_of(settings))

    findings = carry_out(work)
    failed = [one for one in findings if one.state == "failed"]
    if as_json:
        found = [{"check": one.step, "state": one.state, "words": one.words, "cure": one.advice} for one in findings]
        say_json({"ok": not failed, "findings": found})
    else:
        for one in findings:
            mark, style = _MARKS[one.state]
            say_marked(f"{mark:<9}", style, f"{one.step:<{_WIDTH}}  {one.words}")
            if one.advice:
                say(" " * (_WIDTH + 11) + one.advice)
        warnings = sum(one.state == "warning" for one in findings)
        say()
        say(f"{len(failed)} failed, {count(warnings, 'warning')}")
    if failed:
        raise typer.Exit(1)
