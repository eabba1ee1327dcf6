"""`staff token|list|end`; `people` has what is about people alone."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

import typer

from router import app
from router.commands.people import rows
from router.commands.terminal import carry_out, say, say_json, say_table
from router.operations import people
from router.operations import staff_tokens as operation
from router.operations.people import Listed
from router.operations.staff_tokens import SCOPES, StaffToken
from router.operations.words import moment
from router.settings import Settings


def token(name: str, scopes: Sequence[str], days: int) -> None:
    """Make a token."""
    if unknown := sorted(set(scopes) - set(SCOPES)):
        told = f"there is no {', '.join(unknown)}; there are {', '.join(SCOPES)}"
        raise typer.BadParameter(told, param_hint="--scope")

    async def work(settings: Settings) -> str:
        async with app.database_of(settings) as database:
            return await operation.make(database, name, scopes, timedelta(days=days))

    # Alone, and as it is: it goes into a file or a variable.
    sys.stdout.write(carry_out(work) + "\n")


def show_all(*, as_json: bool) -> None:
    """List people and tokens."""

    async def work(settings: Settings) -> tuple[Sequence[StaffToken], Sequence[Listed]]:
        async with app.database_of(settings) as database:
            return await operation.list_all(database), await people.list_all(database)

    found, listed = carry_out(work)
    if as_json:
        say_json({"tokens": [asdict(one) for one in found], "people": [_document(one) for one in listed]})
        return
    if listed:
        say_table(["person", "role", "for the mail of", "last seen", "state"], rows(listed))
        say()
    if not found:
        say("there is no token")
    else:
        say_table(["name", "scopes", "made", "last used", "state"], map(_row, found))


def end(name: str) -> None:
    """End a token."""

    async def work(settings: Settings) -> None:
        async with app.database_of(settings) as database:
            await operation.end(database, name)

    carry_out(work)
    say(f"the token {name} is ended")


def _document(one: Listed) -> dict[str, object]:
    grants = [
        {"role": grant.role, "owner": one.owners[grant.owner_id] if grant.owner_id else None}
        for grant in one.person.grants
    ]
    return {**asdict(one.person), "grants": grants}


def _row(one: StaffToken) -> Sequence[object]:
    used = moment(one.last_used_at) if one.last_used_at else "never"
    return one.name, " ".join(one.scopes), moment(one.made_at), used, _state(one)


def _state(one: StaffToken) -> str:
    if one.is_valid:
        return f"valid until {moment(one.expires_at)}"
    return f"ended {moment(one.ended_at)}" if one.ended_at else f"expired {moment(one.expires_at)}"
