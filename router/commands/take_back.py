"""`take-back`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import typer

from router import app
from router.commands.terminal import Progress, carry_out, confirm, say, say_json, who
from router.errors import UnknownName
from router.operations import take_back as operation
from router.operations.take_back import Ruled
from router.operations.words import count
from router.settings import Settings


def take_back(names: Sequence[str], owner: str, by: str | None, *, undo: bool, yes: bool, as_json: bool) -> None:
    """Take emails back, or undo that; each is told as soon as it is done. Status 1 if one was not done."""

    async def look(settings: Settings) -> tuple[list[UUID], UUID]:
        async with app.database_of(settings) as database:
            return await _known(database, names), await _owner(database, owner)

    emails, owner_id = carry_out(look)
    if not undo and not yes:
        confirm(f"taking back {count(len(emails), 'email')} of {owner}: go on?")
    documents: list[dict[str, Any]] = []

    async def work(settings: Settings) -> bool:
        failed = False
        async with app.database_of(settings) as database:
            with Progress("restoring" if undo else "taking back", len(emails)) as progress:
                async for one in operation.rule(database, emails, owner_id, by or who(), undo=undo):
                    with progress.advanced():
                        failed |= one.outcome.fault is not None
                        documents.append(_document(one)) if as_json else say(_told(one, settings, undo=undo))
        return failed

    failed = carry_out(work)
    if as_json:
        say_json({"emails": documents})
    if failed:
        raise typer.Exit(1)


async def _known(database: Any, names: Sequence[str]) -> list[UUID]:
    try:
        return await operation.find(database, names)
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="EMAIL") from None


async def _owner(database: Any, owner: str) -> UUID:
    try:
        return await operation.find_owner(database, owner)
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="--owner") from None


def _told(one: Ruled, settings: Settings, *, undo: bool) -> str:
    outcome = one.outcome
    if outcome.fault:
        return f"{one.email_id}: not done: {outcome.fault}"
    if undo:
        return f"{one.email_id}: restored"
    if outcome.gone:
        days = count(settings.keep_taken_back, "day")
        return f"{one.email_id}: taken back; the CRM does not have it any more, and --undo restores it for {days}"
    return f"{one.email_id}: taken back; it stays in the CRM for {count(outcome.owners, 'other owner')}"


def _document(one: Ruled) -> dict[str, Any]:
    return {
        "email": one.email_id,
        "fault": one.outcome.fault,
        "owners": None if one.outcome.fault else one.outcome.owners,
        "gone": one.outcome.gone,
    }
