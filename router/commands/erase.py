"""`erase`."""

from typing import Any

import typer

from router import app
from router.commands.terminal import Doing, carry_out, complain, confirm, say, say_json, say_table, who
from router.operations import erase as operation
from router.operations.erase import Asked, Report
from router.operations.words import count
from router.settings import Settings


def erase(address: str, by: str | None, *, forget_hashes: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase a person by their address, and prove it. Status 1 if something is left."""
    if not dry_run and not yes:
        confirm(f"erasing all that names {address}, which nothing brings back: go on?")
    asked = Asked(address, by or who(), forget_hashes, dry_run)

    async def work(settings: Settings) -> Report:
        async with app.database_of(settings) as database:
            with Doing("erasing:" if not dry_run else "looking:") as doing:
                return await operation.erase(database, asked, doing.show)

    report = carry_out(work)
    if as_json:
        say_json(_document(report, dry_run=dry_run))
    else:
        _show(report, dry_run=dry_run)
    if not dry_run and not report.is_clean:
        raise typer.Exit(1)


def _show(report: Report, *, dry_run: bool) -> None:
    whole, part = count(report.emails["whole"], "email"), count(report.emails["part"], "email")
    say(f"{whole} {'would go' if dry_run else 'went'} whole, of {part} a part")
    tables = sorted(name for name in report.removed | report.left if report.removed[name] or report.left[name])
    if dry_run:
        say_table(["table", "rows that name it"], [(name, report.left[name]) for name in tables if report.left[name]])
    else:
        say_table(["table", "removed", "left"], [(name, report.removed[name], report.left[name]) for name in tables])
    for fault in report.faults:
        complain(fault)
    for name, number in sorted(report.crms.items()):
        if number:
            say(f"{name}: {count(number, 'row')} still {'names' if number == 1 else 'name'} it, kept on purpose")
    if report.unread:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(report.unread.items()))
        say(f"attachments that could not be looked into, and may name it: {kinds}")
    if dry_run:
        return
    if report.is_clean:
        say("nothing else names it any more; backups and WAL may")
    else:
        say("something came meanwhile, is to be sent, or is locked: erase again")


def _document(report: Report, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "emails": {"whole": report.emails["whole"], "part": report.emails["part"]},
        "removed": {name: number for name, number in sorted(report.removed.items()) if number},
        "left": {name: number for name, number in sorted(report.left.items()) if number},
        "searched": sorted(report.left),
        "unread": dict(sorted(report.unread.items())),
        "faults": report.faults,
        "of_the_crm": {name: number for name, number in sorted(report.crms.items()) if number},
    }
