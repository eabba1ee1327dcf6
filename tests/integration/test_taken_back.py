"""An owner takes an email back: it is gone, other owners keep theirs, no copy brings it back, and it can be undone."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.decide import decide_batch
from router.errors import DatabaseAway
from router.incoming.promote import Promoter
from router.model import Attachment, Copy, Disposition
from router.operations import take_back as operation
from router.repository import retention, upkeep
from router.repository.database import Database
from router.repository.erasure import taken_back
from router.repository.erasure.taken_back import restore, take_back
from router.repository.incoming import inbox, waiting
from router.repository.incoming.again import due
from router.repository.incoming.batch import Batch
from router.repository.incoming.sources import Lease
from router.repository.retention import Retention
from router.repository.trace.origin import origin_of
from router.repository.trace.trace import Within
from tests.integration.test_promote import SETTLED, Crm, copies, message
from tests.support.databases import Postgres
from tests.support.forked import email_router
from transports.base import Place

SECRET = "the doctor says it is gout"
FILE = Attachment("scan.txt", "text/plain", SECRET.encode() * 20)
PARTS = ("email", "party", "attachment", "receipt", "delivery", "complaint")


@pytest.fixture
async def crm(database: str) -> AsyncIterator[Crm]:
    async with Database(database) as opened:
        yield Crm(opened)


class Mailbox:
    """An owner's, and how many messages came."""

    def __init__(self, crm: Crm, owner_id: UUID, lease: Lease) -> None:
        self.crm, self.owner_id, self.lease = crm, owner_id, lease
        self._uid = 0

    def copy(self, number: int, **changes: Any) -> Copy:
        """A copy of a message, in the next place."""
        self._uid += 1
        return copies(self.lease, self.owner_id, [message(number, **changes)], self._uid)[0]

    async def receive(self, number: int, **changes: Any) -> str:
        """Let a copy come in; return its disposition."""
        return await self.decide(self.copy(number, **changes))

    async def decide(self, copy: Copy, *, again: bool = False) -> str:
        [decision] = await Promoter(self.crm.database).promote(Batch([copy], settles=SETTLED, again=again))
        return decision.disposition


async def mailbox(crm: Crm, name: str, rule: str = "all") -> Mailbox:
    address = f"{name}@example.com"
    owner_id = await crm.owner(address, rule)
    return Mailbox(crm, owner_id, await crm.source(owner_id, address))


async def promoted(crm: Crm, number: int = 1) -> UUID:
    found: UUID = await crm.value("SELECT id FROM crm.email WHERE message_id = $1", f"{number}@kunde.test")
    return found


async def everything(crm: Crm, email_id: UUID) -> dict[str, list[Any]]:
    """All rows of an email, by table."""
    found = {}
    for part in PARTS:
        key = "id" if part == "email" else "email_id"
        rows = await crm.rows(f"SELECT to_jsonb(t)::text AS row FROM crm.{part} AS t WHERE {key} = $1", email_id)
        found[part] = sorted(json.loads(row["row"]).items() for row in rows)
    blobs = await crm.rows(
        "SELECT b.sha256, b.encoding, b.content FROM crm.blob AS b JOIN crm.attachment AS a USING (sha256) "
        "WHERE a.email_id = $1 ORDER BY 1",
        email_id,
    )
    return found | {"blob": [tuple(row) for row in blobs]}


async def kinds(crm: Crm, email_id: UUID) -> list[str]:
    rows = await crm.rows("SELECT kind FROM crm.event WHERE email_id = $1 ORDER BY id", email_id)
    return [row["kind"] for row in rows]


async def test_t113_an_email_that_is_taken_back_is_gone_at_once_and_comes_back_as_it_was(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    record_id = await crm.record("contact", "karl@kunde.test")
    await ulla.receive(1, text=SECRET, attachments=(FILE,))
    email_id = await promoted(crm)
    case_id = uuid4()
    await crm.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", email_id, case_id)
    await crm.execute("INSERT INTO router.regarding_change (first_id, regarding_id) VALUES ($1, $2)", email_id, case_id)
    await crm.execute("INSERT INTO crm.complaint VALUES ($1, 'karl@kunde.test', 'abuse')", email_id)
    await crm.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, 'karl@kunde.test', 'refused')", email_id
    )
    await ulla.receive(2, in_reply_to=("1@kunde.test",), subject="Re: Number 1")
    before = await everything(crm, email_id)
    assert before["blob"]
    assert str(record_id) in str(before["party"])

    assert (await take_back(crm.database, email_id, ulla.owner_id, "ann")).gone
    assert not any((await everything(crm, email_id)).values())
    assert await crm.value("SELECT count(*) FROM crm.blob") == 0
    async with crm.database.connection() as connection:
        for table in ("sealed", "sealed_rows", "sealed_content", "taken_back"):
            assert not await connection.fetchval(
                "SELECT has_table_privilege('email_router_crm', 'router.' || $1, 'SELECT')", table
            )
    assert await crm.value("SELECT correlated_id FROM crm.email") == email_id
    [reasons] = await crm.rows("SELECT reasons FROM router.decision WHERE email_id = $1", email_id)
    assert reasons["reasons"][-1] == "taken back by ann"

    told = await kinds(crm, email_id)
    assert (await restore(crm.database, email_id, ulla.owner_id, "ben")).owners == 1
    assert await everything(crm, email_id) == before
    assert await kinds(crm, email_id) == [*told, "restored"]
    details = await crm.rows("SELECT details FROM crm.event WHERE kind IN ('taken_back', 'restored') ORDER BY id")
    assert [json.loads(row["details"]) for row in details] == [
        {"owner_id": str(ulla.owner_id), "by": by} for by in ("ann", "ben")
    ]
    assert await crm.value("SELECT count(*) FROM router.sealed_rows") == 0
    assert await crm.value("SELECT count(*) FROM router.regarding_change WHERE first_id = $1", email_id) == 1
    assert await crm.value("SELECT crm.thread_id(id) FROM crm.email WHERE id <> $1", email_id) == email_id


async def test_t113_no_copy_of_the_owner_gives_back_what_they_took_back(crm: Crm) -> None:
    ulla, otto = await mailbox(crm, "ulla"), await mailbox(crm, "otto")
    await ulla.receive(1)
    await otto.receive(1)
    email_id = await promoted(crm)
    assert (await take_back(crm.database, email_id, ulla.owner_id, "ann")).owners == 1
    assert await crm.value("SELECT owner_id FROM crm.email") == otto.owner_id
    assert await ulla.receive(1) == "ignored"  # moved to another folder
    assert await otto.receive(1) == "duplicate"
    assert [row["owner_id"] for row in await crm.rows("SELECT owner_id FROM crm.receipt")] == [otto.owner_id]
    # A third owner's copy is theirs.
    eva = await mailbox(crm, "eva")
    assert await eva.receive(1) == "duplicate"
    assert await crm.value("SELECT count(*) FROM crm.receipt") == 2
    assert (await restore(crm.database, email_id, ulla.owner_id, "ann")).owners == 3
    assert await crm.value("SELECT owner_id FROM crm.email") == ulla.owner_id
    assert await ulla.receive(1) == "duplicate"


async def test_t113_an_email_that_all_have_taken_back_is_brought_back_by_nobody(crm: Crm) -> None:
    ulla, otto, eva = [await mailbox(crm, name) for name in ("ulla", "otto", "eva")]
    await ulla.receive(1)
    await otto.receive(1)
    email_id = await promoted(crm)
    before = await everything(crm, email_id)
    assert not (await take_back(crm.database, email_id, ulla.owner_id, "ann")).gone
    assert (await take_back(crm.database, email_id, otto.owner_id, "ann")).gone
    late = eva.copy(1)
    assert await eva.decide(late) == "ignored"
    assert await crm.value("SELECT count(*) FROM crm.email") == 0
    # In the other order than they were taken back.
    assert (await restore(crm.database, email_id, ulla.owner_id, "ann")).owners == 1
    assert (await restore(crm.database, email_id, otto.owner_id, "ann")).owners == 2
    assert await everything(crm, email_id) == before
    # What came meanwhile is decided again.
    assert list(await due(crm.database, eva.lease.source_id, 10)) == [Place("1", "1")]
    assert await eva.decide(late, again=True) == "duplicate"
    assert await crm.value("SELECT count(*) FROM crm.receipt") == 3


async def test_t113_what_is_not_settled_yet_is_neither_deleted_nor_moved(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1)
    assert await crm.value("SELECT count(*) FROM router.decision WHERE settled_at IS NULL") == 1
    await take_back(crm.database, await promoted(crm), ulla.owner_id, "ann")
    assert await crm.value("SELECT count(*) FROM router.decision WHERE settled_at IS NULL") == 0


async def test_t113_what_the_crm_wrote_or_nobody_received_is_refused_in_words(crm: Crm) -> None:
    ulla, otto = await mailbox(crm, "ulla"), await mailbox(crm, "otto")
    await ulla.receive(1)
    email_id = await promoted(crm)
    assert (await take_back(crm.database, email_id, otto.owner_id, "ann")).fault == (
        "it did not come to a mailbox of this owner"
    )
    assert (await take_back(crm.database, uuid4(), ulla.owner_id, "ann")).fault == "the CRM does not have it any more"
    assert (await restore(crm.database, email_id, ulla.owner_id, "ann")).fault == "this owner has not taken it back"
    await take_back(crm.database, email_id, ulla.owner_id, "ann")
    assert "ann took it back already" in str((await take_back(crm.database, email_id, ulla.owner_id, "ben")).fault)
    own = uuid4()
    await crm.execute(
        "INSERT INTO crm.email (id, direction, status, owner_id) VALUES ($1, 'out', 'sent', $2)", own, ulla.owner_id
    )
    await crm.execute(
        "INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at) "
        "VALUES ($1, $2, 'staff', 'Sent', '1:1', now())",
        own,
        ulla.owner_id,
    )
    assert "the CRM wrote it" in str((await take_back(crm.database, own, ulla.owner_id, "ann")).fault)


async def test_t113_what_lay_in_the_sent_folder_is_taken_back_and_restored(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    copy = replace(ulla.copy(1, sender="ulla@example.com"), sent=True)
    assert await ulla.decide(copy) == "promoted"
    email_id = await promoted(crm)
    await crm.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, 'karl@kunde.test', 'accepted')", email_id
    )
    await crm.execute("DELETE FROM router.sent_copy")
    before = await everything(crm, email_id)
    assert await crm.value("SELECT direction FROM crm.email") == "out"
    assert (await take_back(crm.database, email_id, ulla.owner_id, "ann")).gone
    assert (await restore(crm.database, email_id, ulla.owner_id, "ann")).fault is None
    assert await everything(crm, email_id) == before
    assert await crm.value("SELECT count(*) FROM router.sent_copy") == 0


async def test_t113_an_answer_that_came_meanwhile_is_linked_when_it_is_restored(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1)
    email_id = await promoted(crm)
    await take_back(crm.database, email_id, ulla.owner_id, "ann")
    await ulla.receive(2, in_reply_to=("1@kunde.test",))
    assert await crm.value("SELECT correlated_id FROM crm.email") is None
    await restore(crm.database, email_id, ulla.owner_id, "ann")
    await upkeep.move_known_ids(crm.database)
    while await waiting.link_answer(crm.database):
        pass
    assert await crm.value("SELECT correlated_id FROM crm.email WHERE id <> $1", email_id) == email_id


async def test_t113_contents_that_another_email_needs_stay(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, attachments=(FILE,))
    await ulla.receive(2, attachments=(FILE,))
    email_id = await promoted(crm)
    before = await everything(crm, email_id)
    await take_back(crm.database, email_id, ulla.owner_id, "ann")
    assert await crm.value("SELECT count(*) FROM crm.blob") == 1
    await crm.execute("DELETE FROM crm.email; DELETE FROM crm.blob")
    await restore(crm.database, email_id, ulla.owner_id, "ann")
    assert await everything(crm, email_id) == before


async def test_t113_when_the_undo_period_is_over_the_content_is_gone_and_the_key_stays(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, text=SECRET, attachments=(FILE,))
    email_id = await promoted(crm)
    await take_back(crm.database, email_id, ulla.owner_id, "ann")
    await taken_back.forget(crm.database, timedelta(days=30))
    assert await crm.value("SELECT count(*) FROM router.sealed") == 1
    for table in ("sealed", "taken_back"):
        await crm.execute(f"UPDATE router.{table} SET at = now() - interval '31 days'")
    assert (await taken_back.forget(crm.database, timedelta(days=30))).deleted == 1
    for table in ("sealed", "sealed_rows", "sealed_content"):
        assert await crm.value(f"SELECT count(*) FROM router.{table}") == 0
    assert "too late" in str((await restore(crm.database, email_id, ulla.owner_id, "ann")).fault)
    assert await ulla.receive(1) == "ignored"
    # As long as the key is there, so is what was taken back.
    assert (await retention.take_piece(crm.database, "taken_back", Retention(hashes=timedelta(days=30)))).deleted == 0
    await crm.execute("DELETE FROM router.message; UPDATE router.pruning SET begins_at = now()")
    assert (await retention.take_piece(crm.database, "taken_back", Retention(hashes=timedelta(days=30)))).deleted == 1


async def _waits(crm: Crm) -> None:
    """Wait until somebody waits for a lock."""
    async with asyncio.timeout(10):
        while not await crm.value("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("first", ["copy", "take back"])
async def test_t113_beside_another_copy_of_the_message_it_is_before_or_after(crm: Crm, first: str) -> None:
    ulla, otto = await mailbox(crm, "ulla"), await mailbox(crm, "otto")
    await ulla.receive(1)
    email_id = await promoted(crm)
    batch = Batch([otto.copy(1)], settles=SETTLED)
    async with crm.database.transaction() as connection:
        if first == "copy":
            [decision] = await inbox.promote_in(connection, batch, decide_batch, {})
            assert decision.disposition is Disposition.DUPLICATE
            other: asyncio.Task[Any] = asyncio.create_task(take_back(crm.database, email_id, ulla.owner_id, "ann"))
        else:
            await taken_back._take_back(connection, email_id, ulla.owner_id, "ann")
            other = asyncio.create_task(Promoter(crm.database).promote(batch))
        await _waits(crm)
    result = await other
    owners = [row["owner_id"] for row in await crm.rows("SELECT owner_id FROM crm.receipt")]
    if first == "copy":
        assert result.owners == 1
        assert owners == [otto.owner_id]
        assert await crm.value("SELECT owner_id FROM crm.email") == otto.owner_id
    else:
        assert [one.disposition for one in result] == [Disposition.IGNORED]
        assert owners == []
        assert await crm.value("SELECT count(*) FROM router.sealed") == 1


@pytest.mark.parametrize("first", ["the CRM", "take back"])
async def test_t113_beside_a_crm_that_deletes_the_email_it_is_before_or_after(
    crm: Crm, postgres: Postgres, database: str, first: str
) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1)
    email_id = await promoted(crm)
    theirs = await asyncpg.connect(postgres.server.superuser_dsn(urlsplit(database).path.removeprefix("/")))
    await theirs.execute("SET ROLE email_router_crm")
    delete = "DELETE FROM crm.email WHERE id = $1"
    if first == "the CRM":
        async with theirs.transaction():
            await theirs.execute(delete, email_id)
            other: asyncio.Task[Any] = asyncio.create_task(take_back(crm.database, email_id, ulla.owner_id, "ann"))
            await _waits(crm)
        assert (await other).fault == "the CRM does not have it any more"
        assert await crm.value("SELECT count(*) FROM router.sealed") == 0
    else:
        async with crm.database.transaction() as connection:
            await taken_back._take_back(connection, email_id, ulla.owner_id, "ann")
            other = asyncio.create_task(theirs.execute(delete, email_id))
            await _waits(crm)
        assert await other == "DELETE 0"
        assert await crm.value("SELECT count(*) FROM router.sealed") == 1
    await theirs.close()


async def test_t113_two_who_take_it_back_at_once_do_it_once(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1)
    email_id = await promoted(crm)
    both = await asyncio.gather(
        *(take_back(crm.database, email_id, ulla.owner_id, by) for by in ("ann", "ben", "eva", "tom"))
    )
    assert sorted(one.gone for one in both) == [False, False, False, True]
    assert (await kinds(crm, email_id)).count("taken_back") == 1
    undone = await asyncio.gather(*(restore(crm.database, email_id, ulla.owner_id, by) for by in ("ann", "ben")))
    assert sorted(one.fault is None for one in undone) == [False, True]
    assert await crm.value("SELECT count(*) FROM crm.receipt") == 1


async def test_t113_broken_off_at_any_statement_it_is_done_wholly_or_not_at_all(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, attachments=(FILE,))
    email_id = await promoted(crm)
    before = await everything(crm, email_id)
    for do, done in ((taken_back._take_back, False), (taken_back._restore, True)):
        statements = 0
        while True:
            broken = False
            with suppress(_Broken):
                async with crm.database.transaction() as connection:
                    await do(_Breaking(connection, statements), email_id, ulla.owner_id, "ann")  # type: ignore[arg-type]
                    broken = True
            if broken:
                break
            statements += 1
            assert bool(await crm.value("SELECT count(*) FROM crm.email")) != done
            assert (await everything(crm, email_id) == before) != done
        assert statements > 8
    assert await everything(crm, email_id) == before


class _Broken(Exception):
    """The process was killed."""


class _Breaking:
    """A connection that breaks after so many statements."""

    def __init__(self, connection: Any, left: int) -> None:
        self._connection, self._left = connection, left

    def __getattr__(self, name: str) -> Any:
        if self._left == 0:
            raise _Broken
        self._left -= 1
        return getattr(self._connection, name)


async def test_t113_what_is_locked_for_long_is_said_in_words(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise DatabaseAway("another session has it locked")

    monkeypatch.setattr(taken_back, "take_back", away)
    monkeypatch.setattr(operation, "_PAUSE", 0)
    [one] = [one async for one in operation.rule(crm.database, [uuid4()], uuid4(), "ann", undo=False)]
    assert one.outcome.fault == "another session has it locked: try again"


async def test_t113_every_statement_is_bound_to_an_index(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, attachments=(FILE,))
    email_id = await promoted(crm)
    queries: list[str] = []
    for do in (taken_back._take_back, taken_back._restore):
        async with crm.database.transaction() as connection:
            with connection.query_logger(lambda record: queries.append(record.query)):
                await do(connection, email_id, ulla.owner_id, "ann")
    assert not await _scans(crm, queries)


async def _scans(crm: Crm, queries: Sequence[str]) -> dict[str, str]:
    """The plans of statements that read a table of ours from end to end."""
    found = {}
    async with crm.database.rolled_back() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        for query in queries:
            if not query.strip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")) or "pg_" in query:
                continue
            await connection.execute("PREPARE one AS " + query)
            number = await connection.fetchval(
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'one'"
            )
            arguments = f"({', '.join(['NULL'] * number)})" if number else ""
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE one{arguments}"))
            await connection.execute("DEALLOCATE one")
            if "Seq Scan" in plan:
                found[query] = plan
    return found


async def test_t113_by_command(crm: Crm, database: str, tmp_path: Path) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1)
    email_id = await promoted(crm)

    async def ask(*arguments: str) -> tuple[int | None, str]:
        environment = {"EMAIL_ROUTER_DATABASE_URL": database, "EMAIL_ROUTER_PROFILES": str(tmp_path)}
        process = await email_router(
            "take-back", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=os.environ | environment,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    of_ulla = ("--owner", "Ulla@Example.com", "--by", "ann")
    assert (await ask("<1@kunde.test>", *of_ulla))[0] == 2  # nobody said yes
    assert await crm.value("SELECT count(*) FROM crm.email") == 1
    said = f"{email_id}: taken back; the CRM does not have it any more, and --undo restores it for 30 days\n"
    assert await ask("<1@kunde.test>", *of_ulla, "--yes") == (0, said)
    assert await ask("1@kunde.test", *of_ulla, "--undo") == (0, f"{email_id}: restored\n")
    status, out = await ask(str(email_id), *of_ulla, "--undo", "--json")
    assert status == 1
    assert json.loads(out)["emails"][0]["fault"] == "this owner has not taken it back"
    status, out = await ask(str(email_id), "--owner", "nobody@example.com", "--yes")
    assert status == 2
    assert "no owner has the mailbox nobody@example.com" in out


async def test_events_of_an_email_that_is_gone_name_nobody_any_more(crm: Crm) -> None:
    ulla, otto = await mailbox(crm, "ulla"), await mailbox(crm, "otto")
    for one in (ulla, otto):
        await one.receive(1)
    await ulla.receive(2)
    email_id, other = await promoted(crm), await promoted(crm, 2)
    for which in (email_id, other):
        await crm.execute(
            """
            INSERT INTO crm.event (kind, email_id, details) VALUES
                ('resolved', $1, '{"address": "karl@kunde.test", "record_id": null, "by": "ann"}'),
                ('record_wanted', $1,
                 '{"sender": "karl@kunde.test", "sender_name": "Karl", "subject": "Gout", "fields": {"note": "Gout"}}'),
                ('refused', $1, '{"address": "karl@kunde.test", "code": "5.1.1", "reason": "no karl@kunde.test"}')
            """,
            which,
        )
    named = "SELECT count(*) FROM crm.event WHERE email_id = $1 AND details::text ~* 'karl|gout'"
    assert not (await take_back(crm.database, email_id, otto.owner_id, "ann")).gone
    assert await crm.value(named, email_id) == 3
    assert (await take_back(crm.database, email_id, ulla.owner_id, "ann")).gone
    assert (await crm.value(named, email_id), await crm.value(named, other)) == (0, 3)
    assert {"promoted", "received", "resolved", "record_wanted", "refused"} <= set(await kinds(crm, email_id))
    assert await crm.value("SELECT details->>'by' FROM crm.event WHERE email_id = $1 AND kind = 'resolved'", email_id)
    async with crm.database.transaction(planned_once=True) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(
            "EXPLAIN SELECT FROM crm.event WHERE email_id = $1 AND details ?| '{address,sender,subject}'::text[]", other
        )
    assert "event_names" in str(plan)


async def test_the_rule_that_is_told_is_of_whose_copy_was_promoted_also_when_that_owner_took_it_back(crm: Crm) -> None:
    ulla, otto = await mailbox(crm, "ulla", "all"), await mailbox(crm, "otto", "replies")
    assert [await one.receive(1) for one in (ulla, otto)] == ["promoted", "duplicate"]
    email_id = await promoted(crm)
    assert (await take_back(crm.database, email_id, ulla.owner_id, "ann")).owners == 1
    assert await crm.value("SELECT owner_id FROM crm.email") == otto.owner_id
    for pruned in (False, True):
        if pruned:
            await crm.execute("DELETE FROM router.decision")
        found = await origin_of(crm.database, email_id)
        assert found is not None
        assert (found.mailbox, found.rule) == ("ulla@example.com", "all")
        assert [one.mailbox for one in found.receipts] == ["otto@example.com"]
        assert found.reasons[-1:] == (() if pruned else ("taken back by ann",))
    # Otto is not told of others' mailboxes.
    seen = await origin_of(crm.database, email_id, Within(frozenset({otto.owner_id})))
    assert seen is not None
    assert (seen.mailbox, [one.mailbox for one in seen.receipts]) == (None, ["otto@example.com"])
