"""Promote: one transaction, a number of queries that does not grow, and nothing twice, whoever comes at once."""

import asyncio
import json
import re
import threading
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from router.decide import decide_batch
from router.errors import ContentRefused, DatabaseMisused, LeaseLost
from router.incoming.promote import Promoter, promote_and_tell
from router.model import (
    Attachment,
    Classification,
    Copy,
    Decision,
    Disposition,
    Facts,
    Mention,
    Message,
    RecipientReport,
    Report,
    Rule,
    Unreadable,
    message_id_hash,
    normalize,
    uuid7,
)
from router.model.creation import Creation
from router.outgoing.outcome import judge
from router.repository import processes
from router.repository.database import Connection, Database
from router.repository.incoming import inbox, settle, sources
from router.repository.incoming.batch import Batch
from router.repository.incoming.facts import read_facts
from router.repository.incoming.registry import Source, register
from router.repository.incoming.sources import Lease
from router.repository.outgoing import outbox
from tests.support.build import reading
from tests.support.claims import claim_some
from transports.base import Cursor, Outcome, Place

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SETTLED = frozenset({Disposition.PROMOTED, Disposition.DUPLICATE})


class Recording(Database):
    """Remembers every query, with its arguments."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.queries: list[str] = []

    @asynccontextmanager
    async def transaction(self, *, planned_once: bool = False) -> AsyncIterator[Connection]:
        async with super().transaction(planned_once=planned_once) as connection:
            with connection.query_logger(lambda record: self.queries.append(record.query)):
                yield connection


class Lent(Database):
    """Lends this one connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("")
        self._lent = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield self._lent


@pytest.fixture
async def recording(database: str) -> AsyncIterator[Recording]:
    async with Recording(database) as opened:
        yield opened


class Crm:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def execute(self, sql: str, *arguments: Any) -> None:
        async with self.database.connection() as connection:
            await connection.execute(sql, *arguments)

    async def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def value(self, sql: str, *arguments: Any) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def record(self, kind: str, address: str) -> UUID:
        record_id = uuid4()
        await self.execute("INSERT INTO crm.record (id, kind, name) VALUES ($1, $2, $3)", record_id, kind, address)
        await self.execute("INSERT INTO crm.address VALUES ($1, $2)", normalize(address), record_id)
        return record_id

    async def owner(self, mailbox: str, rule: str) -> UUID:
        record_id = await self.record("user", mailbox)
        await self.execute(
            "INSERT INTO crm.owner (record_id, mailbox, tracking_rule, approved) VALUES ($1, $2, $3, true)",
            record_id,
            mailbox,
            rule,
        )
        return record_id

    async def source(self, owner_id: UUID, mailbox: str) -> Lease:
        source = Source("staff", mailbox, "imap:ann", "INBOX", owner_id, "all")
        source_id = (await register(self.database, [source]))[source]
        process_id = uuid4()
        await processes.beat(self.database, process_id)
        await self.execute(
            "UPDATE router.source SET process_id = $2, epoch = epoch + 1 WHERE id = $1", source_id, process_id
        )
        return Lease(source_id, process_id, 1, "imap:ann", None, True, NOW)


@pytest.fixture
def crm(recording: Recording) -> Crm:
    return Crm(recording)


def message(number: int, sender: str = "karl@kunde.test", **changes: Any) -> Message:
    return replace(
        Message(
            message_id=f"{number}@kunde.test",
            subject=f"Number {number}",
            date=NOW,
            mentions=(Mention("from", 0, sender), Mention("to", 0, "ulla@example.com")),
            text="hello",
        ),
        **changes,
    )


def copies(lease: Lease, owner_id: UUID, messages: Sequence[Message], first_uid: int = 1) -> list[Copy]:
    return [
        Copy(uuid7(), lease.source_id, Place("1", str(uid)), owner_id, Rule.REPLIES, NOW, reading(one), b"raw")
        for uid, one in enumerate(messages, first_uid)
    ]


async def test_a_batch_of_any_size_takes_the_same_number_of_queries(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    counts = []
    for first, size in ((1, 1), (2, 1), (100, 60)):  # the first of all also asks for the types of columns
        numbers = range(first, first + size)
        batch = copies(lease, owner_id, [message(n, references=(f"{n - 1}@kunde.test",)) for n in numbers], first)
        recording.queries.clear()
        await inbox.promote(recording, Batch(batch, lease, Cursor(f"1:{first + size}"), settles=SETTLED), decide_batch)
        counts.append(len(recording.queries))
    assert counts[1] == counts[2]
    assert await crm.value("SELECT count(*) FROM crm.email") == 62


def _wanting_a_case(batch: Sequence[Copy], facts: Facts) -> list[Decision]:
    wanted = Creation("support", "case", "karl@kunde.test", "Karl")
    return [replace(decision, creation=wanted) for decision in decide_batch(batch, facts)]


async def test_every_query_of_the_hot_path_is_bound_to_an_index(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    attachment = Attachment("a.txt", "text/plain", b"attached")
    recording.queries.clear()
    batch = copies(lease, owner_id, [message(1, attachments=(attachment,), tokens=("k3m9x2p7",))])
    await inbox.promote(recording, Batch(batch, lease, Cursor("1:1"), settles=SETTLED), _wanting_a_case)
    assert any("creations AS" in query for query in recording.queries)
    await settle.note_settled(recording, lease.source_id, [Place("1", "1")])
    for status in ("draft", "pending_send"):
        await _outgoing(crm, owner_id, status)
    process_id = lease.process_id
    claimed = await claim_some(recording, process_id, 1)
    await outbox.start(recording, process_id, [outbox.Start(one.attempt_id, "relay", False) for one in claimed])
    await outbox.give_back(recording, [one.attempt_id for one in claimed])
    (claimed_again,) = await claim_some(recording, process_id, 1)
    taken = Outcome("karl@kunde.test", "accepted", "2.0.0", "250 2.6.0 <new@relay.test> taken")
    await outbox.record(recording, [judge(claimed_again, [taken], 10, datetime.now(UTC), Random(1))])
    assert await crm.value("SELECT status FROM crm.email WHERE direction = 'out' AND sent_at IS NOT NULL") == "sent"
    sent_id = await crm.value("SELECT message_id FROM crm.email WHERE status = 'sent'")
    refused = Report("bounce", (RecipientReport("karl@kunde.test", "bounce", "5.1.1"),), (sent_id,))
    [bounce] = copies(lease, owner_id, [message(2)], 2)
    bounce = replace(bounce, reading=reading(bounce.message, Classification("a report", refused)))
    await inbox.promote(recording, Batch([bounce], lease, Cursor("1:2")), decide_batch)
    assert await crm.value("SELECT state FROM crm.delivery WHERE code = '5.1.1'") == "refused"
    [away] = copies(lease, owner_id, [message(3, in_reply_to=("new@relay.test",))], 3)
    away = replace(away, reading=reading(away.message, Classification("Auto-Submitted: auto-replied")))
    await inbox.promote(recording, Batch([away], lease, Cursor("1:3")), decide_batch)
    assert (
        await crm.value("SELECT correlation_method FROM crm.email WHERE message_id = '3@kunde.test'") == "in-reply-to"
    )
    assert any("WITH RECURSIVE up" in query for query in recording.queries)
    for part in ("ids AS (INSERT", "AS places", "emails AS (INSERT", "overtaken AS (UPDATE", "receipts AS (INSERT"):
        assert any(part in re.sub(r"\(\s+", "(", query) for query in recording.queries), part
    plans = {}
    async with recording.connection() as connection, connection.transaction():
        # What can use an index does now, however small the table is, and whatever the arguments are.
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        for query in recording.queries:
            if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", query):
                await connection.execute("PREPARE hot AS " + query)
                number = await connection.fetchval(
                    "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'hot'"
                )
                arguments = f"({', '.join(['NULL'] * number)})" if number else ""
                rows = await connection.fetch(f"EXPLAIN EXECUTE hot{arguments}")
                plans[query] = "\n".join(row[0] for row in rows)
                await connection.execute("DEALLOCATE hot")
    bad = {query: plan for query, plan in plans.items() if re.search(r"Seq Scan on (?!installation|single)", plan)}
    assert not bad, "\n\n".join(f"{query}\n{plan}" for query, plan in bad.items())
    overtaken = [plan for query, plan in plans.items() if "overtaken AS" in query]
    assert overtaken
    assert all("decision_refused" in plan for plan in overtaken)
    # As many owners as there are can have ignored one message: only what the batch's own owners did is read.
    not_promoted = [plan for query, plan in plans.items() if "not_promoted AS" in query]
    assert not_promoted
    for plan in not_promoted:
        assert re.search(r"decision_refused_of_owner .*\n *Index Cond: \(\(key = .*\) AND \(owner_id = ", plan), plan


async def test_a_batch_is_planned_as_the_test_above_reads_it_and_nothing_else_is(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    told = "current_setting('plan_cache_mode') || ' ' || current_setting('enable_seqscan')"
    await crm.execute(
        f"""
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.batch := {told}; RETURN NEW; END $$;
        CREATE TRIGGER tell BEFORE INSERT ON crm.email FOR EACH ROW EXECUTE FUNCTION tell();
        """
    )
    await inbox.promote(crm.database, Batch(copies(lease, owner_id, [message(1)]), lease), decide_batch)
    assert await crm.value("SELECT batch FROM crm.email") == "force_generic_plan off"
    assert await crm.value(f"SELECT {told}") == "auto on"


async def _chain(crm: Crm, number: int) -> list[str]:
    """Let the CRM have automatic emails that answer one another; return their Message-IDs."""
    ids = [uuid7() for _ in range(number)]
    message_ids = [f"{id_}@kunde.test" for id_ in ids]
    await crm.execute(
        """
        INSERT INTO crm.email (id, direction, status, message_id, correlated_id, flags)
        SELECT id, 'in', 'received', message_id, correlated_id, '{automatic}'
        FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS w (id, message_id, correlated_id)
        """,
        ids,
        message_ids,
        [None, *ids[:-1]],
    )
    await crm.execute(
        "INSERT INTO crm.party (email_id, role, address) SELECT *, 'from', 'bot@kunde.test' FROM unnest($1::uuid[])",
        ids,
    )
    # A router's own pool tells the trigger that it writes the ids itself.
    await crm.execute(
        "INSERT INTO router.known_id (hash, email_id) SELECT * FROM unnest($1::bytea[], $2::uuid[])",
        [message_id_hash(message_id) for message_id in message_ids],
        ids,
    )
    return message_ids


def _answers(message_ids: Sequence[str], lease: Lease, owner_id: UUID, number: int) -> Copy:
    [copy] = copies(lease, owner_id, [message(number, references=tuple(message_ids))], number)
    return replace(copy, reading=reading(copy.message, Classification("Auto-Submitted: auto-replied")))


def _rows(plan: dict[str, Any]) -> float:
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    return float(rows * plan["Actual Loops"] + sum(_rows(part) for part in plan.get("Plans", ())))


async def test_each_automatic_email_of_a_thread_is_read_once_however_many_of_them_are_answered(
    crm: Crm, database: str
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    read = []
    developer = await asyncpg.connect(database)
    for number in (100, 400):
        asked: list[tuple[str, Sequence[Any]]] = []
        answer = _answers(await _chain(crm, number), lease, owner_id, number)
        async with crm.database.transaction() as connection:
            with connection.query_logger(lambda one, asked=asked: asked.append((one.query, one.args))):
                facts = await read_facts(connection, [answer])
        [(query, arguments)] = [one for one in asked if "WITH RECURSIVE up" in one[0]]
        assert len(arguments[0]) == number
        assert set(facts.thread_load.automatic.values()) == {number - 1}
        assert len(set(facts.thread_load.threads.values())) == 1
        await developer.execute("ANALYZE crm.email, crm.party")
        plan = json.loads(await developer.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments))
        read.append(_rows(plan[0]["Plan"]))
    await developer.close()
    assert read[1] < 6 * read[0]  # four times as many; pairs of them would be sixteen times as many


async def test_automatic_emails_that_answer_each_other_in_a_circle_are_counted_as_one_thread(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    first, *_, last = message_ids = await _chain(crm, 12)
    await crm.execute(
        "UPDATE crm.email SET correlated_id = (SELECT id FROM crm.email WHERE message_id = $2) WHERE message_id = $1",
        first,
        last,
    )
    answer = _answers(message_ids[4:5], lease, owner_id, 1)
    [decision] = await inbox.promote(crm.database, Batch([answer], lease, Cursor("1:1")), decide_batch)
    assert decision.disposition is Disposition.HELD


async def test_the_automatic_emails_of_a_thread_are_those_of_the_last_hour_on_all_its_branches(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    one, other = await _chain(crm, 12), await _chain(crm, 6)
    await crm.execute(
        "UPDATE crm.email SET correlated_id = (SELECT id FROM crm.email WHERE message_id = $2) WHERE message_id = $1",
        other[0],
        one[5],
    )
    await crm.execute(
        "UPDATE crm.email SET created_at = created_at - interval '61 minutes' WHERE message_id = ANY($1)", one[:4]
    )
    copy = _answers([one[3], one[9], other[5], *await _chain(crm, 3)], lease, owner_id, 1)
    async with crm.database.transaction() as connection:
        facts = await read_facts(connection, [copy])
    # What came within the hour below the last one that is older, by one path or another.
    assert sorted(facts.thread_load.automatic.values()) == [2, 8 + 6]
    assert len(set(facts.thread_load.threads.values())) == 2
    named = facts.emails.of_message_id(one[9])
    assert named is not None
    assert facts.thread_load.automatic[facts.thread_load.threads[named.id], "kunde.test"] == 14


@pytest.mark.parametrize("number", [1, 60])
async def test_a_batch_of_any_size_takes_one_round_trip_to_lock_one_to_read_one_to_write_and_one_to_count(
    crm: Crm, recording: Recording, number: int
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await crm.record("contact", "karl@kunde.test")
    # asyncpg asks once for each connection what the types are.
    await inbox.promote(recording, Batch(copies(lease, owner_id, [message(1000)], 1000), lease), decide_batch)
    batch = copies(lease, owner_id, [message(n, in_reply_to=("other@kunde.test",)) for n in range(number)])
    recording.queries.clear()
    await inbox.promote(recording, Batch(batch, lease, Cursor("1:1"), settles=SETTLED), decide_batch)
    assert len(recording.queries) == 4
    assert await crm.value("SELECT count(*) FROM crm.email") == number + 1


async def test_a_further_owner_of_a_message_costs_no_more_than_the_first(crm: Crm, recording: Recording) -> None:
    versions: list[tuple[Any, Any]] = []
    for number in range(4):
        owner_id = await crm.owner(f"owner{number}@example.com", "all")
        lease = await crm.source(owner_id, f"owner{number}@example.com")
        await Promoter(recording).promote(Batch(copies(lease, owner_id, [message(1)]), lease))
        rows = await crm.rows("SELECT owner_id, xmin::text FROM crm.receipt ORDER BY received_at, owner_id")
        now = {(row["owner_id"], row["xmin"]) for row in rows}
        assert len(now) == number + 1
        assert set(versions) <= now  # no receipt of the others was written again
        versions = list(now)


async def test_what_is_to_be_settled_is_found_by_an_index_however_much_is_not_due(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    batch = copies(lease, owner_id, [message(1)])
    await inbox.promote(crm.database, Batch(batch, lease, Cursor("1:1"), settles=SETTLED), decide_batch)
    queries: list[str] = []
    async with crm.database.connection() as connection:
        with connection.query_logger(lambda record: queries.append(record.query)):
            lent = Lent(connection)
            for delay, found in ((timedelta(days=14), []), (timedelta(), [Place("1", "1")])):
                assert await settle.unsettled(lent, lease.source_id, delay) == found
                assert await settle.with_rest(lent, [lease.source_id], delay) == [lease.source_id][: len(found)]
        await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        for query in set(queries):
            await connection.execute("PREPARE due AS " + query)
            plan = await connection.fetch(f"EXPLAIN EXECUTE due({', '.join(['NULL'] * (query.count('$')))})")
            await connection.execute("DEALLOCATE due")
            assert "decision_unsettled" in str(plan)


async def _outgoing(crm: Crm, owner_id: UUID, status: str) -> UUID:
    email_id = uuid4()
    await crm.execute(
        "INSERT INTO crm.email (id, direction, status, owner_id) VALUES ($1, 'out', 'draft', $2)", email_id, owner_id
    )
    await crm.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'to', 'karl@kunde.test')", email_id)
    if status != "draft":
        await crm.execute("UPDATE crm.email SET status = $2 WHERE id = $1", email_id, status)
    return email_id


async def test_t10_the_same_messages_at_once_by_two_processes_in_opposite_order(crm: Crm, recording: Recording) -> None:
    mailboxes = ["a@example.com", "b@example.com", "c@example.com"]
    owners = [await crm.owner(mailbox, "all") for mailbox in mailboxes]
    leases = [await crm.source(owner, mailbox) for owner, mailbox in zip(owners, mailboxes, strict=True)]
    messages = [message(n, references=tuple(f"{m}@kunde.test" for m in range(max(0, n - 3), n))) for n in range(30)]
    orders = [messages, messages[::-1], messages[15:] + messages[:15]]
    work = [
        Promoter(recording).promote(Batch(portion, lease, None, settles=SETTLED))
        for lease, owner, order in zip(leases, owners, orders, strict=True)
        for portion in _tens(copies(lease, owner, order))
    ]
    await asyncio.gather(*work)
    assert await crm.value("SELECT count(*) FROM crm.email") == 30
    assert await crm.value("SELECT count(*) FROM crm.receipt") == 90
    dispositions = await crm.rows("SELECT disposition, count(*) FROM router.decision GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in dispositions] == [("duplicate", 60), ("promoted", 30)]


def _tens(batch: list[Copy]) -> list[list[Copy]]:
    return [batch[start : start + 10] for start in range(0, len(batch), 10)]


async def test_one_who_lost_the_lease_commits_nothing(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    old = await crm.source(owner_id, "ulla@example.com")
    new_process = uuid4()
    await processes.beat(recording, new_process)
    await crm.execute("UPDATE router.process SET seen_at = now() - interval '1 hour' WHERE id = $1", old.process_id)
    (new,) = await sources.acquire(recording, new_process, [old.source_id], timedelta(seconds=10))
    for lease, told in ((old, None), (new, "new")):
        await sources.note_fault(recording, new.source_id, "old" if lease is old else "new", lease=lease)
        assert await crm.value("SELECT fault FROM router.source") == told
    with pytest.raises(LeaseLost):
        await Promoter(recording).promote(Batch(copies(old, owner_id, [message(1)]), old, Cursor("1:1")))
    assert await crm.value("SELECT count(*) FROM crm.email") == 0
    await Promoter(recording).promote(Batch(copies(new, owner_id, [message(1)]), new, Cursor("1:1")))
    assert await crm.value("SELECT cursor FROM router.source") == "1:1"


async def test_t97_a_message_that_breaks_a_step_is_dead_and_its_neighbors_are_promoted(
    crm: Crm, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")

    def breaking(batch: Sequence[Copy], facts: Facts) -> list[Decision]:
        if any(copy.judged and copy.message.subject == "Number 5" for copy in batch):
            raise ValueError("the secret words of number 5")
        return decide_batch(batch, facts)

    monkeypatch.setattr("router.incoming.promote.decide_batch", breaking)
    batch = copies(lease, owner_id, [message(n) for n in range(12)])
    decisions = await Promoter(recording).promote(Batch(batch, lease, Cursor("1:12")))
    assert [n for n, one in enumerate(decisions) if one.disposition is Disposition.DEAD] == [5]
    assert await crm.value("SELECT count(*) FROM crm.email") == 11
    (dead,) = await crm.rows("SELECT reasons, key FROM router.decision WHERE disposition = 'dead'")
    assert "ValueError" in dead["reasons"][0]
    assert "secret" not in dead["reasons"][0]
    assert await crm.value("SELECT cursor FROM router.source") == "1:12"
    assert await crm.value("SELECT count(*) FROM router.kept_content") == 1  # the owner's rule is all


class Mistaken(Database):
    """Asks a query of ours, that is wrong, in its first transaction."""

    mistaken = False

    @asynccontextmanager
    async def transaction(self, *, planned_once: bool = False) -> AsyncIterator[Connection]:
        async with super().transaction(planned_once=planned_once) as connection:
            if not self.mistaken:
                self.mistaken = True
                await connection.execute("SELECT $1::int", 1, 2)
            yield connection


async def test_no_message_is_dead_for_a_query_of_ours_that_is_wrong(crm: Crm, database: str) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    batch = Batch(copies(lease, owner_id, [message(1)]), lease)
    async with Mistaken(database) as mistaken:
        with pytest.raises(DatabaseMisused, match="the server expects 1 argument"):
            await Promoter(mistaken).promote(batch)
        assert await crm.value("SELECT count(*) FROM router.decision") == 0
        [decision] = await Promoter(mistaken).promote(batch)
    assert decision.disposition is Disposition.PROMOTED


async def test_a_reason_is_kept_whole_whatever_is_in_it(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    [odd] = copies(lease, owner_id, [message(1)])
    odd = replace(odd, reading=reading(odd.message, Classification('Auto-Submitted: a\x1fb, "{c}"\n')))
    [decision] = await Promoter(recording).promote(Batch([odd], lease))
    assert any("\x1f" in reason for reason in decision.reasons)
    assert await crm.value("SELECT reasons FROM router.decision") == list(decision.reasons)


async def test_what_postgresql_cannot_hold_is_a_dead_letter(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "replies")
    await crm.record("contact", "karl@kunde.test")
    await crm.execute("UPDATE crm.owner SET tracking_rule = 'known'")
    lease = await crm.source(owner_id, "ulla@example.com")
    bad = message(2, text="a\0b")
    with pytest.raises(ContentRefused):
        await inbox.promote(recording, Batch(copies(lease, owner_id, [bad]), lease), decide_batch)
    decisions = await Promoter(recording).promote(
        Batch(copies(lease, owner_id, [message(1), bad, message(3)]), lease, Cursor("1:3"))
    )
    assert [one.disposition for one in decisions] == ["promoted", "dead", "promoted"]
    assert (
        await crm.value("SELECT count(*) FROM router.kept_content") == 0
    )  # still in its mailbox, and not all is wanted


@pytest.mark.parametrize("first", ["ignoring", "wanting"])
async def test_t09b_an_ignored_copy_becomes_a_duplicate_when_another_makes_the_mail_the_crms(
    crm: Crm, recording: Recording, first: str
) -> None:
    ignoring = await crm.owner("i@example.com", "replies")
    wanting = await crm.owner("w@example.com", "all")
    never = await crm.owner("n@example.com", "none")
    owners = {"ignoring": ignoring, "wanting": wanting, "never": never}
    order = ["never", first, "wanting" if first == "ignoring" else "ignoring"]
    for name in order:
        lease = await crm.source(owners[name], f"{name}@example.com")
        batch = copies(lease, owners[name], [message(1)])
        await Promoter(recording).promote(Batch(batch, lease, settles=SETTLED))
    rows = await crm.rows("SELECT owner_id, disposition, settled_at FROM router.decision")
    found = {row["owner_id"]: row["disposition"] for row in rows}
    assert found == {ignoring: "duplicate", wanting: "promoted", never: "ignored"}
    # What became a duplicate is still to be settled at its server.
    assert [row["disposition"] for row in rows if row["settled_at"]] == ["ignored"]
    receipts = await crm.rows("SELECT owner_id FROM crm.receipt")
    assert {row["owner_id"] for row in receipts} == {ignoring, wanting}
    events = await crm.rows("SELECT kind, details FROM crm.event ORDER BY kind")
    assert [(row["kind"], json.loads(row["details"])) for row in events] == [
        ("promoted", {"owner_id": str(wanting), "rule": "all"}),
        ("received", {"owner_id": str(ignoring)}),
    ]


async def test_the_same_place_listed_again_keeps_its_disposition(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "replies")
    lease = await crm.source(owner_id, "ulla@example.com")
    await Promoter(recording).promote(Batch(copies(lease, owner_id, [message(1)]), lease))
    await crm.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    await Promoter(recording).promote(Batch(copies(lease, owner_id, [message(1)]), lease))
    assert await crm.value("SELECT disposition FROM router.decision") == "ignored"
    assert await crm.value("SELECT count(*) FROM crm.email") == 0


async def test_what_keeps_its_disposition_is_neither_counted_nor_logged_again(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    told = []
    for numbers in ([1], [1, 2], [1, 2]):
        with structlog.testing.capture_logs() as logs:
            batch = Batch(copies(lease, owner_id, [message(number) for number in numbers]), lease)
            await promote_and_tell(Promoter(recording), batch, "staff", structlog.get_logger())
        told.append([(line["event"], line.get("promoted"), line.get("ignored")) for line in logs])
    assert told == [[("received", 1, None)], [("received", 1, None)], []]


async def test_an_erased_email_does_not_come_back_with_the_next_copy(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await Promoter(recording).promote(Batch(copies(lease, owner_id, [message(1)]), lease))
    await crm.execute("DELETE FROM crm.email")
    (decision,) = await Promoter(recording).promote(Batch(copies(lease, owner_id, [message(1)], first_uid=2), lease))
    assert decision.disposition is Disposition.DUPLICATE
    assert await crm.value("SELECT count(*) FROM crm.email") == 0


async def test_quotes_and_headers_as_they_came_are_stored(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    text = "Yes.\n\nOn 1 Feb 2016, Ann wrote:\n> Ja?\n"
    marked = message(1, text=text, raw_headers=(("subject", "\\xd3"),))
    await Promoter(recording).promote(Batch(copies(lease, owner_id, [marked, message(2)]), lease))
    rows = await crm.rows("SELECT text_marks, raw_headers FROM crm.email ORDER BY message_id")
    stored = [[json.loads(value) if value else None for value in row] for row in rows]
    assert stored == [[[[6, 38, "quote"]], [["subject", "\\xd3"]]], [None, None]]


async def test_deciding_leaves_the_event_loop_to_others(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    began, goes_on = threading.Event(), threading.Event()

    def waiting(batch: Sequence[Copy], facts: Facts) -> list[Decision]:
        began.set()
        assert goes_on.wait(20)
        return decide_batch(batch, facts)

    promoting = asyncio.create_task(inbox.promote(recording, Batch(copies(lease, owner_id, [message(1)])), waiting))
    assert await asyncio.to_thread(began.wait, 20)
    goes_on.set()
    assert [decision.disposition for decision in await promoting] == ["promoted"]


async def test_what_is_kept_is_compressed_on_neither_the_loop_nor_within_the_transaction(
    crm: Crm, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    began, goes_on = threading.Event(), threading.Event()

    def waiting(content: bytes, level: int) -> bytes:
        began.set()
        assert goes_on.wait(20)
        return zlib.compress(content, level)

    monkeypatch.setattr(inbox, "zlib", SimpleNamespace(compress=waiting))
    first, second = copies(lease, owner_id, [message(1), message(2)])
    dead = replace(second, reading=Unreadable("broken"), content=b"broken" * 99)
    promoting = asyncio.create_task(inbox.promote(recording, Batch([first, dead], lease), decide_batch))
    assert await asyncio.to_thread(began.wait, 20)
    open_ = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE '%in transaction%'"
    assert await crm.value(open_) == 0
    goes_on.set()
    assert [decision.disposition for decision in await promoting] == ["promoted", "dead"]
    assert zlib.decompress(await crm.value("SELECT content FROM router.kept_content")) == b"broken" * 99
    assert await crm.value("SELECT count(*) FROM crm.email") == 1


async def test_an_attachment_is_stored_once_and_compressed(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    attachment = Attachment("a.txt", "text/plain", b"again and " * 1000)
    batch = copies(lease, owner_id, [message(n, attachments=(attachment, attachment)) for n in range(3)])
    await Promoter(recording).promote(Batch(batch, lease))
    assert await crm.value("SELECT count(*) FROM crm.attachment") == 6
    (blob,) = await crm.rows("SELECT encoding, length(content) AS size FROM crm.blob")
    assert blob["encoding"] == "zlib"
    assert blob["size"] < 1000


async def test_t64_mail_of_a_restored_mailbox_is_not_judged_anew(crm: Crm, recording: Recording) -> None:
    owner_id = await crm.owner("ulla@example.com", "known")
    await crm.record("contact", "karl@kunde.test")
    lease = await crm.source(owner_id, "ulla@example.com")
    messages = [message(1), message(2, sender="stranger@elsewhere.test")]
    await Promoter(recording).promote(Batch(copies(lease, owner_id, messages), lease))
    await crm.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    restored = [replace(copy, place=Place("2", copy.place.id)) for copy in copies(lease, owner_id, messages)]
    decisions = await Promoter(recording).promote(Batch(restored, lease))
    assert [one.disposition for one in decisions] == ["duplicate", "ignored"]
    assert await crm.value("SELECT count(*) FROM crm.email") == 1
    assert [row["place"] for row in await crm.rows("SELECT place FROM crm.receipt")] == ["2:1"]


async def test_t17_what_the_owner_sent_is_an_outgoing_email_that_nobody_sends_again(
    crm: Crm, recording: Recording
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    (sent,) = copies(lease, owner_id, [message(1, sender="ulla@example.com")])
    await Promoter(recording).promote(Batch([replace(sent, sent=True)], lease))
    (email,) = await crm.rows("SELECT direction, status, sent_at FROM crm.email")
    assert tuple(email) == ("out", "sent", NOW)
    assert await crm.value("SELECT count(*) FROM router.outbox") == 0
