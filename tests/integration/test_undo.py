"""Undoing a ruling is one thing, whichever way is taken: what was made together with it goes, unless it was used."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from router.model.viewer import Grant, StaffRole, Viewer
from router.operations import never_track, rulings, unresolved
from router.operations.queue import ruling
from router.repository.rulings import rulings as repository
from router.repository.senders import fold
from tests.support.command import type_command
from tests.support.crm import Crm
from tests.support.senders import Senders

LENA, JO = "lena@kestrel.test", "jo@kestrel.test"

WAITS_OR_IS_UNDONE = """
    SELECT EXISTS (SELECT FROM router.ruling WHERE undone_at IS NOT NULL) OR EXISTS (
        SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted
    )
"""

ADMINISTRATOR = Viewer(1, "ann", (Grant(StaffRole.ADMINISTER),))

Undo = Callable[[int], Awaitable[None]]


async def wait(senders: Senders, address: str, count: int = 1) -> list[UUID]:
    """Let so many emails of a sender wait, on the pages too."""
    emails = await senders.write(address, count)
    while await fold.fold(senders.database):
        pass
    return emails


@pytest.fixture(params=["foot", "page", "command", "crm"])
def undo(request: pytest.FixtureRequest, database: str, crm: Crm, senders: Senders) -> Undo:
    """Undo a ruling at the foot of the queue, on the page Rulings, by a command or the CRM.

    By the API: test_api_unresolved.py.
    """

    async def undo(ruling_id: int) -> None:
        match request.param:
            case "foot":
                await ruling.undo(senders.database, ruling_id, "ann")
            case "page":
                await rulings.undo(senders.database, ADMINISTRATOR, ruling_id)
            case "command":
                assert (await type_command(database, "unresolved", "undo", str(ruling_id))).status == 0
            case _:
                assert await crm.sql.fetchval("SELECT crm.unresolve($1)", LENA) == ruling_id

    return undo


async def test_undoing_a_ruling_takes_back_its_record_whichever_way_is_taken(
    crm: Crm, senders: Senders, undo: Undo
) -> None:
    [email_id] = await wait(senders, LENA)
    made = await ruling.create(senders.database, None, LENA, ruling.NewRecord("contact", "Lena"), "ann", None)
    assert made.made_record
    assert await senders.sender_of(email_id) == made.record_id
    await undo(made.id)
    await senders.carry_out()
    assert await senders.sender_of(email_id) is None
    assert await crm.rows("SELECT FROM crm.address WHERE address = $1", LENA) == []
    [record] = await crm.rows("SELECT active FROM crm.record WHERE id = $1", made.record_id)
    assert not record["active"]
    assert (await unresolved.find(senders.database, made.id)).kept is None


async def test_undoing_a_ruling_takes_back_its_never_track_entry_whichever_way_is_taken(
    senders: Senders, undo: Undo
) -> None:
    await wait(senders, LENA)
    done = await ruling.never_track(senders.database, None, LENA, None, "ann", None)
    assert done.ruling is not None
    assert (await unresolved.find(senders.database, done.ruling.id)).never_tracked
    await undo(done.ruling.id)
    assert await never_track.list_all(senders.database, None) == []


async def test_an_entry_that_was_made_apart_from_a_ruling_stays(senders: Senders, undo: Undo) -> None:
    await wait(senders, LENA)
    await never_track.add(senders.database, LENA, None, "bob")
    done = await ruling.never_track(senders.database, None, LENA, None, "ann", None)
    assert done.ruling is not None
    await undo(done.ruling.id)
    assert [one.by for one in await never_track.list_all(senders.database, None)] == ["bob"]
    assert (await unresolved.find(senders.database, done.ruling.id)).kept == (
        "its mail is still never tracked: that was not said by this ruling"
    )


USES = {
    "changed": ("the CRM has changed it since", "UPDATE crm.record SET name = 'Lena Kestrel' WHERE id = $1"),
    "attribute": (
        "the CRM has changed it since",
        """UPDATE crm.record SET attributes = '{"city": "Ulm"}' WHERE id = $1""",
    ),
    "address": (
        "it has got other addresses since",
        "INSERT INTO crm.address (address, record_id) VALUES ('l@home.test', $1)",
    ),
    "ruling": ("another ruling names it", "SELECT crm.resolve('l@home.test', $1)"),
    "regarding": (
        "mail or a case belongs to it since",
        "UPDATE crm.email SET regarding_id = $1 WHERE id = (SELECT id FROM crm.email LIMIT 1)",
    ),
    "merge": (
        "records were merged",
        "SELECT crm.merge_records((SELECT id FROM crm.record WHERE name = 'Other'), $1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
async def test_a_record_that_was_used_since_stays_and_that_is_told(crm: Crm, senders: Senders, use: str) -> None:
    await crm.record("contact", "Other")
    await wait(senders, LENA, 2)
    made = await ruling.create(senders.database, None, LENA, ruling.NewRecord("contact", "Lena"), "ann", None)
    why, statement = USES[use]
    await crm.admin.execute(statement, made.record_id)
    undone = await ruling.undo(senders.database, made.id, "ann")
    assert undone.kept == f"the record that it made stays: {why}"
    [record] = await crm.rows("SELECT active FROM crm.record WHERE id = $1", made.record_id)
    assert record["active"]
    assert await crm.rows("SELECT FROM crm.address WHERE address = $1 AND record_id = $2", LENA, made.record_id)
    [told] = await crm.rows("SELECT details ->> 'kept' AS kept FROM crm.event WHERE kind = 'ruling_undone'")
    assert told["kept"] == undone.kept


async def test_a_record_whose_mail_has_come_since_stays(senders: Senders) -> None:
    [before] = await wait(senders, LENA)
    made = await ruling.create(senders.database, None, LENA, ruling.NewRecord("contact", "Lena"), "ann", None)
    [since] = await wait(senders, LENA)
    undone = await ruling.undo(senders.database, made.id, "ann")
    assert undone.kept == "the record that it made stays: there is other mail of it since"
    assert (await senders.sender_of(before), await senders.sender_of(since)) == (None, made.record_id)


async def test_a_record_that_the_crm_has_locked_or_keeps_holds_up_no_undoing(crm: Crm, senders: Senders) -> None:
    await wait(senders, LENA)
    made = await ruling.create(senders.database, None, LENA, ruling.NewRecord("contact", "Lena"), "ann", None)
    async with crm.admin.transaction():
        await crm.admin.execute("SELECT FROM crm.record WHERE id = $1 FOR UPDATE", made.record_id)
        undone = await ruling.undo(senders.database, made.id, "ann")
    assert undone.kept == "the record that it made stays: somebody changes it at this moment"
    await wait(senders, JO)
    made = await ruling.create(senders.database, None, JO, ruling.NewRecord("contact", "Jo"), "ann", None)
    await crm.admin.execute(
        """
        CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
        CREATE TRIGGER keep BEFORE UPDATE ON crm.record FOR EACH ROW EXECUTE FUNCTION public.keep();
        """
    )
    undone = await ruling.undo(senders.database, made.id, "ann")
    assert undone.kept == "the record that it made stays: the CRM does not let it be taken out of use"
    assert await crm.rows("SELECT FROM crm.address WHERE address = $1", JO) != []


async def test_a_ruling_and_the_undoing_that_takes_its_record_are_as_if_one_came_first(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ruling to a record that is out of use would say what it does not do."""
    await wait(senders, LENA)
    [waits] = await wait(senders, JO)
    made = await ruling.create(senders.database, None, LENA, ruling.NewRecord("contact", "Lena"), "ann", None)
    ruled, goes_on = asyncio.Event(), asyncio.Event()
    rule = repository._rule

    async def not_committed(*arguments: Any) -> Any:
        done = await rule(*arguments)
        ruled.set()
        await goes_on.wait()
        return done

    monkeypatch.setattr(repository, "_rule", not_committed)
    ruling_second = asyncio.create_task(unresolved.rule(senders.database, JO, made.record_id, "bob", None))
    await ruled.wait()
    undoing = asyncio.create_task(ruling.undo(senders.database, made.id, "ann"))
    await crm.wait_for(True, WAITS_OR_IS_UNDONE)
    goes_on.set()
    await ruling_second
    assert (await undoing).kept == "the record that it made stays: another ruling names it"
    await senders.carry_out_all()
    assert await senders.sender_of(waits) == made.record_id
