"""`records merge`."""

from dataclasses import asdict
from uuid import UUID

from router import app
from router.commands.terminal import Doing, carry_out, complain, confirm, say, say_json, who
from router.operations import records as operation
from router.operations.records import Asked, Merge, Named
from router.operations.words import count
from router.settings import Settings


def merge(from_id: UUID, into_id: UUID, by: str | None, *, yes: bool, as_json: bool) -> None:
    """Merge a record into another."""

    async def look(settings: Settings) -> Asked:
        async with app.database_of(settings) as database:
            return await operation.ask(database, from_id, into_id)

    asked = carry_out(look)
    if not yes:
        confirm(f"{_touched(asked, from_id, into_id)}: go on?")

    async def work(settings: Settings) -> Merge:
        async with app.database_of(settings) as database:
            begun = await operation.merge(database, from_id, into_id, by or who())
            with Doing("merging") as doing:
                async for one in operation.carry_out(database, begun):
                    doing.show(_moved(one))
            return await operation.find(database, from_id)

    done = carry_out(work)
    if as_json:
        say_json(asdict(done))
    else:
        say(f"record {from_id} is merged into record {into_id}: {_moved(done)}")
    if not done.is_done:
        why = "some of it may be left, since a transaction of somebody else's has it locked, or began before"
        if done.refused:
            why = f"the CRM's SQL refuses {count(done.refused, 'row')}: {done.fault}"
        elif done.fault:
            why = f"it does not go on: {done.fault}"
        later = "a router does it later, or the same command"
        if done.has_failed:
            later = "it failed too often to be tried again by itself; mend it, and give the same command"
        complain(f"{why}: {later}")


def _touched(asked: Asked, from_id: UUID, into_id: UUID) -> str:
    goes = asked.goes
    moved = ", ".join(
        (
            count(goes.parties, "party", "parties"),
            f"{count(goes.emails, 'email')} about it",
            count(goes.addresses, "address", "addresses"),
            count(goes.rulings, "ruling"),
        )
    )
    return f"{_called(goes, from_id)} goes, with {moved}, and {_called(asked.stays, into_id)} stays"


def _called(named: Named, record_id: UUID) -> str:
    return f"{named.name or 'record'} ({', '.join(filter(None, (named.kind, str(record_id))))})"


def _moved(merge: Merge) -> str:
    return f"{count(merge.parties, 'party', 'parties')} and {count(merge.emails, 'email')} moved"
