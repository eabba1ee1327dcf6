"""`split`: an email begins a thread of its own, or is put back on the one that it was on."""

from uuid import UUID

import typer

from router import app
from router.commands.terminal import carry_out, say, say_json, who
from router.errors import UnknownName
from router.operations import split as operation
from router.operations.split import Split
from router.settings import Settings


def split(email_id: UUID, by: str | None, *, undo: bool, as_json: bool) -> None:
    """Split an email off, or undo that."""

    async def work(settings: Settings) -> Split:
        async with app.database_of(settings) as database:
            try:
                return await (operation.undo if undo else operation.split)(database, email_id, by or who())
            except UnknownName as error:
                raise typer.BadParameter(str(error), param_hint="EMAIL") from None

    done = carry_out(work)
    if as_json:
        say_json({"email_id": done.email_id, "correlated_id": done.correlated_id, "split": not undo})
    elif undo:
        say(f"{done.email_id}: answers email {done.correlated_id} again")
    else:
        say(f"{done.email_id}: begins a thread of its own; it answered email {done.correlated_id}")
