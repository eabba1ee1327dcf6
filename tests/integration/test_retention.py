"""Retention: what grows is pruned in small pieces, and nothing that is still needed is."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from router.decide import decide_batch
from router.health import Health
from router.incoming.promote import Promoter
from router.model import Attachment, Disposition, Unreadable
from router.repository import retention
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.attachments import missing_contents
from router.repository.incoming.batch import Batch
from router.repository.incoming.letters import Selection, count_letters, list_letters
from router.repository.incoming.sources import Lease
from router.repository.retention import WALKS, Piece, Retention, forget_bytes, take_piece
from router.upkeep import BYTES, keep_up, prune
from tests.integration.test_promote import Crm, Lent, Recording, copies, message
from transports.base import Cursor

AGES = Retention(timedelta(days=60), timedelta(days=600), timedelta(days=60), timedelta(days=60))
OLD = "now() - interval '100 days'"


@pytest.fixture
async def recording(database: str) -> AsyncIterator[Recording]:
    async with Recording(database) as opened:
        yield opened


@pytest.fixture
def crm(recording: Recording) -> Crm:
    return Crm(recording)


async def _mailbox(crm: Crm, rule: str = "known") -> tuple[UUID, Lease]:
    """A mailbox of which two copies were decided on: one ignored, one promoted; and a third of today."""
    await crm.record("contact", "karl@kunde.test")
    owner_id = await crm.owner("ulla@example.com", rule)
    lease = await crm.source(owner_id, "ulla@example.com")
    messages = [message(1, "friend@home.test"), message(2), message(3)]
    await Promoter(crm.database).promote(Batch(copies(lease, owner_id, messages), lease, Cursor("1:3")))
    await crm.execute(
        f"UPDATE router.decision SET decided_at = {OLD}, received_at = {OLD}, settled_at = {OLD} WHERE place <> '3'"
    )
    for table in ("message", "message_id"):
        await crm.execute(f"UPDATE router.{table} SET seen_at = {OLD}")
    return owner_id, lease


async def _walk(database: Database, what: str, ages: Retention = AGES) -> int:
    """All pieces of a walk, which is due."""
    deleted = 0
    async with database.connection() as connection:
        await connection.execute("UPDATE router.pruning SET begins_at = now() WHERE what = $1", what)
    while True:
        piece = await take_piece(database, what, ages)
        deleted += piece.deleted
        if not piece.more:
            return deleted


async def _places(crm: Crm) -> list[str]:
    return [row["place"] for row in await crm.rows("SELECT place FROM router.decision ORDER BY id")]


async def test_old_decisions_go_and_their_counts_stay(crm: Crm) -> None:
    await _mailbox(crm)
    assert await _walk(crm.database, "decisions") == 2
    assert await _places(crm) == ["3"]
    counts = await crm.rows("SELECT promoted, ignored FROM router.source_count")
    assert [tuple(row) for row in counts] == [(2, 1)]


async def test_what_is_known_no_longer_is_not_judged_when_its_folder_is_read_again(crm: Crm) -> None:
    await _mailbox(crm)
    begins_at = await crm.value("SELECT max(received_at) FROM router.decision WHERE place <> '3'")
    await crm.execute("UPDATE router.source SET begins_at = '-infinity'")
    await _walk(crm.database, "decisions")
    assert await crm.value("SELECT begins_at FROM router.source") == begins_at
    # A server whose clock is wrong puts the start off to no later than the mail was decided on.
    await crm.execute(f"UPDATE router.decision SET decided_at = {OLD}, received_at = now() + interval '9 years'")
    await crm.execute(f"UPDATE router.decision SET settled_at = {OLD}")
    await _walk(crm.database, "decisions")
    assert await crm.value("SELECT begins_at < now() - interval '99 days' FROM router.source") is True


@pytest.mark.parametrize(
    "why",
    [
        "UPDATE router.decision SET settled_at = NULL WHERE place <> '3'",
        "UPDATE router.decision SET disposition = 'held', email_id = NULL WHERE place <> '3'",
        "UPDATE router.source SET fault = 'the cursor stands before them'",
        f"UPDATE router.source_count SET last_at = {OLD}",
    ],
    ids=["not settled", "waits for a person", "at fault", "no mail since"],
)
async def test_decisions_that_are_needed_stay(crm: Crm, why: str) -> None:
    await _mailbox(crm)
    await crm.execute(why)
    assert await _walk(crm.database, "decisions") == 0
    assert await _places(crm) == ["1", "2", "3"]


async def test_a_former_source_is_read_no_more_so_its_decisions_go(crm: Crm) -> None:
    await _mailbox(crm)
    await crm.execute(f"UPDATE router.source SET identity = NULL; UPDATE router.source_count SET last_at = {OLD}")
    assert await _walk(crm.database, "decisions") == 2


async def test_the_hashes_of_an_email_stay_as_long_as_it_does_and_outlive_it(crm: Crm) -> None:
    owner_id, lease = await _mailbox(crm)
    await _walk(crm.database, "decisions")
    assert await _walk(crm.database, "keys") == 1  # of what was ignored
    assert await _walk(crm.database, "ids") == 1
    # The folder is read again: both are known.
    again = copies(lease, owner_id, [message(2), message(3)], 12)
    decisions = await Promoter(crm.database).promote(Batch(again, lease, Cursor("2:13")))
    assert [one.disposition for one in decisions] == [Disposition.DUPLICATE] * 2
    await crm.execute("DELETE FROM crm.email WHERE message_id = '2@kunde.test'")
    await crm.execute(f"UPDATE router.message SET seen_at = {OLD}; UPDATE router.message_id SET seen_at = {OLD}")
    assert await _walk(crm.database, "keys") == 0
    assert await _walk(crm.database, "ids") == 0
    [decision] = await Promoter(crm.database).promote(Batch(copies(lease, owner_id, [message(2)], 22), lease))
    assert decision.disposition is Disposition.DUPLICATE  # what was erased does not come back
    await crm.execute("UPDATE router.message SET seen_at = now() - interval '700 days'")
    await crm.execute("UPDATE router.message_id SET seen_at = now() - interval '700 days'")
    assert await _walk(crm.database, "keys") == 1
    assert await _walk(crm.database, "ids") == 1
    assert await crm.value("SELECT count(*) FROM router.message") == 1


async def test_events_go_by_their_age(crm: Crm) -> None:
    await _mailbox(crm)
    assert await _walk(crm.database, "events") == 0
    await crm.execute(f"UPDATE crm.event SET at = {OLD} WHERE id = (SELECT min(id) FROM crm.event)")
    assert await _walk(crm.database, "events") == 1
    assert await crm.value("SELECT count(*) FROM crm.event") == 1


async def test_attempts_go_unless_their_email_waits(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "known")
    emails = {}
    for number, status in enumerate(("sent", "unknown", "pending_send")):
        emails[status] = email_id = uuid4()
        await crm.execute(
            "INSERT INTO crm.email (id, direction, status, owner_id) VALUES ($1, 'out', 'draft', $2)",
            email_id,
            owner_id,
        )
        await crm.execute(
            "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'to', 'karl@kunde.test')", email_id
        )
        for step in ("pending_send", "sending", status)[: 1 if status == "pending_send" else 3]:
            await crm.execute("UPDATE crm.email SET status = $2 WHERE id = $1", email_id, step)
        if status != "pending_send":
            await crm.execute("DELETE FROM router.outbox WHERE email_id = $1", email_id)
        await crm.execute(
            f"INSERT INTO router.attempt (id, email_id, number, process_id, claimed_at, finished_at) "
            f"VALUES (gen_random_uuid(), $1, {number}, gen_random_uuid(), {OLD}, {OLD})",
            email_id,
        )
    assert await _walk(crm.database, "attempts") == 1
    left = {row["email_id"] for row in await crm.rows("SELECT email_id FROM router.attempt")}
    assert left == {emails["unknown"], emails["pending_send"]}


def _attached(owner_id: UUID, lease: Lease, number: int, content: bytes) -> Batch:
    one = message(number, attachments=(Attachment("a.bin", "application/octet-stream", content),))
    return Batch(copies(lease, owner_id, [one], number), lease)


async def test_contents_that_no_email_has_go_a_day_after_they_came(crm: Crm) -> None:
    owner_id, lease = await _mailbox(crm)
    await Promoter(crm.database).promote(_attached(owner_id, lease, 10, b"erased"))
    await Promoter(crm.database).promote(_attached(owner_id, lease, 11, b"stays"))
    await crm.execute("DELETE FROM crm.email WHERE message_id = '10@kunde.test'")
    assert await _walk(crm.database, "contents") == 0
    await crm.execute("UPDATE crm.blob SET created_at = now() - interval '2 days'")
    assert await _walk(crm.database, "contents") == 1
    assert [row["content"] for row in await crm.rows("SELECT content FROM crm.blob")] == [b"stays"]


async def test_many_large_contents_go_in_several_pieces(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WALKS, "contents", WALKS["contents"].replace(str(64 << 20), "2500"))
    await crm.execute(
        "INSERT INTO crm.blob (sha256, content, created_at) SELECT sha256(int4send(n)), repeat('x', 1000)::bytea, "
        f"{OLD} FROM generate_series(1, 10) AS n"
    )
    sizes = []
    while (piece := await take_piece(crm.database, "contents", AGES)).more:
        sizes.append(piece.deleted)
    assert sum(sizes) == 10
    assert max(sizes) == 3


async def test_a_content_is_not_deleted_while_a_promotion_counts_on_it(crm: Crm) -> None:
    owner_id, lease = await _mailbox(crm)
    [copy] = _attached(owner_id, lease, 10, b"shared").copies
    await Promoter(crm.database).promote(_attached(owner_id, lease, 10, b"shared"))
    await crm.execute("DELETE FROM crm.email; UPDATE crm.blob SET created_at = now() - interval '2 days'")
    async with crm.database.transaction() as connection:
        assert await missing_contents(connection, {copy.id: copy.attachments}) == []
        assert await _walk(crm.database, "contents") == 0
    assert await _walk(crm.database, "contents") == 1


async def test_a_promotion_stores_again_what_is_being_deleted(crm: Crm, database: str) -> None:
    owner_id, lease = await _mailbox(crm)
    await Promoter(crm.database).promote(_attached(owner_id, lease, 10, b"shared"))
    await crm.execute("DELETE FROM crm.email")
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("DELETE FROM crm.blob")
            promoting = asyncio.create_task(Promoter(crm.database).promote(_attached(owner_id, lease, 11, b"shared")))
            await _until_somebody_waits(crm)
    finally:
        await other.close()
    [decision] = await promoting
    assert decision.disposition is Disposition.PROMOTED
    assert await crm.value("SELECT count(*) FROM crm.attachment JOIN crm.blob USING (sha256)") == 1


async def _until_somebody_waits(crm: Crm) -> None:
    async with asyncio.timeout(20):
        while not await crm.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)


async def test_what_the_database_refuses_once_is_no_fault_of_the_message(crm: Crm) -> None:
    owner_id, lease = await _mailbox(crm)
    await crm.execute(
        """
        CREATE SEQUENCE public.tries;
        CREATE FUNCTION public.once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('public.tries') = 1 THEN
                RAISE EXCEPTION 'somebody deleted it' USING ERRCODE = 'foreign_key_violation';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER zz_once BEFORE INSERT ON crm.email FOR EACH ROW EXECUTE FUNCTION public.once();
        """
    )
    [decision] = await Promoter(crm.database).promote(Batch(copies(lease, owner_id, [message(9)], 9), lease))
    assert decision.disposition is Disposition.PROMOTED


async def test_bytes_go_when_they_expire(crm: Crm) -> None:
    owner_id, lease = await _mailbox(crm, "all")
    dead = [
        replace(one, reading=Unreadable("it could not be read"))
        for one in copies(lease, owner_id, [message(7), message(8)], 7)
    ]
    await Promoter(crm.database).promote(Batch(dead, lease))
    expires = "SELECT min(expires_at - now()) FROM router.kept_content"
    assert timedelta(days=29) < await crm.value(expires) <= timedelta(days=30)
    assert await forget_bytes(crm.database) == Piece(0, more=False)
    await crm.execute(
        f"UPDATE router.kept_content SET expires_at = {OLD} WHERE decision_id = (SELECT min(decision_id) "
        "FROM router.kept_content)"
    )
    assert await forget_bytes(crm.database) == Piece(1, more=False)
    assert await crm.value("SELECT count(*) FROM router.kept_content") == 1
    assert await crm.value("SELECT dead FROM router.source_count") == 2  # they are dead letters still


async def test_bytes_are_kept_for_as_long_as_the_setting_says(crm: Crm, database: str) -> None:
    owner_id, lease = await _mailbox(crm, "all")
    [dead] = [
        replace(one, reading=Unreadable("it could not be read")) for one in copies(lease, owner_id, [message(7)], 7)
    ]
    async with Database(database, keep_bytes=3) as ours:
        await Promoter(ours).promote(Batch([dead], lease))
    assert await crm.value("SELECT max(expires_at - now()) FROM router.kept_content") <= timedelta(days=3)


async def test_a_piece_looks_at_no_more_than_its_rows_and_the_next_goes_on(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PIECE", 2)
    await _mailbox(crm)
    await crm.execute(
        f"INSERT INTO crm.event (kind, at) SELECT 'sent', {OLD} FROM generate_series(1, 5)",
    )
    await crm.execute("DELETE FROM crm.event WHERE kind <> 'sent'")
    pieces = [await take_piece(crm.database, "events", AGES) for _ in range(4)]
    assert pieces == [Piece(2, more=True), Piece(2, more=True), Piece(1, more=False), Piece(0, more=False)]
    # The next walk begins in a day.
    assert await crm.value("SELECT begins_at > now() + interval '23 hours' FROM router.pruning WHERE what = 'events'")


async def test_who_works_with_a_row_is_not_waited_for(crm: Crm, database: str) -> None:
    await _mailbox(crm)
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM router.decision WHERE place = '1' FOR UPDATE")
            await other.execute("SELECT FROM router.message_id FOR UPDATE")
            async with asyncio.timeout(2):  # less than a lock is waited for
                assert await _walk(crm.database, "decisions") == 1
                assert await _walk(crm.database, "ids") == 0
            # And a piece that another process takes is left to it.
            await other.execute("SELECT FROM router.pruning WHERE what = 'keys' FOR UPDATE")
            assert await take_piece(crm.database, "keys", AGES) == Piece(0, more=False)
    finally:
        await other.close()


async def test_the_job_prunes_all_of_it_and_one_that_cannot_be_stops_no_other_and_is_told(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _mailbox(crm)
    await crm.execute(f"UPDATE crm.event SET at = {OLD}")
    await crm.execute("ALTER TABLE router.decision RENAME TO elsewhere")
    assert await prune(crm.database, "decisions", AGES, set()) == 0
    monkeypatch.setattr("router.upkeep.EVERY", 0.05)
    told: asyncio.Queue[str | None] = asyncio.Queue()

    async def note(fault: str | None, _next_try: datetime | None) -> None:
        told.put_nowait(fault)

    health = Health("the upkeep fails", note, structlog.get_logger("test"))
    job = asyncio.create_task(keep_up(crm.database, AGES, health))
    try:
        async with asyncio.timeout(20):
            while await crm.value("SELECT count(*) FROM crm.event") or await crm.value(
                "SELECT count(*) FROM router.pruning WHERE begins_at <= now() AND what <> 'decisions'"
            ):
                await asyncio.sleep(0.02)
            assert "router.decision" in (await told.get() or "")
            await crm.execute("ALTER TABLE router.elsewhere RENAME TO decision")
            while await told.get() is not None:
                pass
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job


async def test_every_query_is_bound_to_an_index(crm: Crm, recording: Recording) -> None:
    await _mailbox(crm)
    recording.queries.clear()
    for what in (*WALKS, BYTES):
        await prune(recording, what, AGES, set())
    assert len(recording.queries) >= 2 * len(WALKS)
    async with recording.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        for query in recording.queries:
            if not re.match(r"\s*(SELECT|UPDATE|WITH)", query):
                continue
            await connection.execute("PREPARE piece AS " + query)
            number = await connection.fetchval(
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'piece'"
            )
            rows = await connection.fetch(f"EXPLAIN EXECUTE piece({', '.join(['NULL'] * number)})")
            await connection.execute("DEALLOCATE piece")
            plan = "\n".join(row[0] for row in rows)
            assert not re.search(r"Seq Scan on", plan), f"{query}\n{plan}"


async def test_letters_are_found_by_an_index(crm: Crm) -> None:
    queries: list[str] = []
    async with crm.database.connection() as connection:
        with connection.query_logger(lambda record: queries.append(record.query)):
            await list_letters(Lent(connection), Disposition.DEAD)
            await count_letters(Lent(connection), Disposition.HELD, Selection())
        await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_custom_plan")
        for query in queries:
            await connection.execute("PREPARE waiting AS " + query)
            arguments = ["'dead'", "0", *["NULL"] * 3, "100"][: len(set(re.findall(r"\$\d", query)))]
            plan = await connection.fetch(f"EXPLAIN EXECUTE waiting({', '.join(arguments)})")
            await connection.execute("DEALLOCATE waiting")
            assert "decision_waiting" in str(plan)


async def test_a_promotion_and_a_walk_at_once_lose_nothing(crm: Crm) -> None:
    """Both work on the same hashes; whichever is first, the message is an email once."""
    owner_id, lease = await _mailbox(crm)
    await crm.execute(f"DELETE FROM crm.email; UPDATE router.message SET seen_at = {OLD}")
    batches = [Batch(copies(lease, owner_id, [message(n)], n), lease) for n in range(100, 160)]
    ages = replace(AGES, hashes=timedelta(0), decisions=timedelta(0))

    async def walk() -> None:
        for _ in range(20):
            await _walk(crm.database, "keys", ages)
            await _walk(crm.database, "ids", ages)

    await asyncio.gather(walk(), *(inbox.promote(crm.database, one, decide_batch) for one in batches * 2))
    assert await crm.value("SELECT count(*) FROM crm.email") == 60
    assert await crm.value("SELECT count(*) FROM router.message WHERE email_id IS NOT NULL") == 60
