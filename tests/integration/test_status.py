"""What `status` is read from: counters that agree with what they count, and no table that grows."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from router import metrics
from router.errors import UnknownName
from router.incoming.promote import Promoter
from router.model import Copy, Disposition, Mention, Message, Outgoing, Result, Rule, ServedProfile, Unreadable, uuid7
from router.operations import ready
from router.operations import status as operation
from router.operations.status import Only
from router.repository import processes
from router.repository.database import Connection, Database
from router.repository.incoming import sources
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source, register
from router.repository.outgoing import outbox, recovery, relays, routes
from router.repository.outgoing.queue import read_queue
from router.repository.outgoing.routes import Route
from router.repository.outgoing.sending import set_sending
from router.repository.overview.status import read_status
from tests.support.build import reading
from tests.support.claims import carry, claim_some
from tests.support.console import parse, value
from tests.support.crm import Crm
from tests.support.senders import Senders
from transports.base import Cursor, Outcome, Place

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=10)
Counts = dict[tuple[str | None, str, str], int]
COUNTED = """
    SELECT source_id, count(*) FILTER (WHERE disposition = 'promoted'),
        count(*) FILTER (WHERE disposition = 'duplicate'), count(*) FILTER (WHERE disposition = 'ignored'),
        count(*) FILTER (WHERE disposition = 'held'), count(*) FILTER (WHERE disposition = 'dead')
    FROM router.decision GROUP BY source_id ORDER BY source_id
"""


@pytest.fixture
async def router(database: str) -> Any:
    async with Database(database) as opened:
        yield opened


async def make_source(router: Database, owner_id: UUID | None, mailbox: str, folder: str = "INBOX") -> int:
    source = Source("staff", mailbox, "imap:ann", folder, owner_id, "all")
    return (await register(router, [source]))[source]


def message(number: int, **changes: Any) -> Message:
    whole = Message(
        message_id=f"{number}@kunde.test",
        date=NOW,
        subject=f"Number {number}",
        mentions=(Mention("from", 0, "karl@kunde.test"), Mention("to", 0, "ann@in.test")),
        text="hello",
    )
    return replace(whole, **changes)


def copies(source_id: int, owner_id: UUID, messages: Sequence[Message], first: int = 1) -> list[Copy]:
    return [
        Copy(uuid7(), source_id, Place("1", str(uid)), owner_id, Rule.REPLIES, NOW, reading(one), b"raw")
        for uid, one in enumerate(messages, first)
    ]


async def agree(crm: Crm) -> None:
    counted = [tuple(row) for row in await crm.admin.fetch(COUNTED)]
    kept = "SELECT source_id, promoted, duplicate, ignored, held, dead FROM router.source_count ORDER BY source_id"
    assert [tuple(row) for row in await crm.admin.fetch(kept)] == counted


# --- Counters --------------------------------------------------------------------------------------------------------


async def test_counters_follow_every_disposition(crm: Crm, router: Database) -> None:
    ann, bob = await crm.owner("ann@in.test", "known"), await crm.owner("bob@in.test", "all")
    first, second = await make_source(router, ann, "ann@in.test"), await make_source(router, bob, "bob@in.test")
    await Promoter(router).promote(Batch(copies(first, ann, [message(n) for n in range(4)])))
    [broken] = copies(first, ann, [message(9)], 9)
    await Promoter(router).promote(Batch([replace(broken, reading=Unreadable("it could not be read"))]))
    await agree(crm)
    # Bob's rule promotes what Ann's ignored: her copies become duplicates, in her source's count, too.
    await Promoter(router).promote(Batch(copies(second, bob, [message(n) for n in range(3)])))
    await agree(crm)
    found = {one.mailbox: one for one in (await read_status(router, LEASE)).sources}
    assert found["ann@in.test"].dispositions == {"promoted": 0, "duplicate": 3, "ignored": 1, "held": 0, "dead": 1}
    assert (found["ann@in.test"].seen, found["bob@in.test"].dispositions[Disposition.PROMOTED]) == (5, 3)
    # The same again: nothing is new, nothing is counted.
    await Promoter(router).promote(Batch(copies(second, bob, [message(n) for n in range(3)])))
    await agree(crm)


async def test_the_time_of_the_last_mail_is_that_of_the_sources_own(crm: Crm, router: Database) -> None:
    ann, bob = await crm.owner("ann@in.test", "known"), await crm.owner("bob@in.test", "all")
    first, second = await make_source(router, ann, "ann@in.test"), await make_source(router, bob, "bob@in.test")
    never = (await read_status(router, LEASE)).sources
    assert [one.last_at for one in never] == [None, None]
    await Promoter(router).promote(Batch(copies(first, ann, [message(1)])))
    await crm.admin.execute("UPDATE router.source_count SET last_at = '2026-01-01Z'")
    await Promoter(router).promote(Batch(copies(second, bob, [message(1)])))
    found = {one.mailbox: one.last_at for one in (await read_status(router, LEASE)).sources}
    assert found["ann@in.test"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert found["bob@in.test"] is not None
    assert found["bob@in.test"] > datetime(2026, 1, 2, tzinfo=UTC)


async def test_counting_deadlocks_nobody(crm: Crm, router: Database) -> None:
    """Each batch makes duplicates of what the others' sources ignored, in opposite orders."""
    mailboxes = [f"{name}@in.test" for name in ("a", "b", "c", "d")]
    owners = [await crm.owner(mailbox, "known") for mailbox in mailboxes]
    ids = [await make_source(router, owner, mailbox) for owner, mailbox in zip(owners, mailboxes, strict=True)]
    numbers = range(40)
    for owner, source_id in zip(owners, ids, strict=True):
        await Promoter(router).promote(Batch(copies(source_id, owner, [message(n) for n in numbers])))
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    work = [
        Promoter(router).promote(Batch(copies(source_id, owner, [message(n)], 1000 + n)))
        for n in numbers
        for owner, source_id in list(zip(owners, ids, strict=True))[:: 1 if n % 2 else -1]
    ]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    await asyncio.gather(*work)
    await agree(crm)
    assert await crm.admin.fetchval(deadlocks) == 0


# --- Failed and unknown ----------------------------------------------------------------------------------------------


async def claimed(crm: Crm, router: Database, process_id: UUID) -> Outgoing:
    email_id = await crm.send("ann@in.test", "karl@kunde.test", "An offer", "Dear Karl")
    [email] = await claim_some(router, process_id, 1)
    assert email.id == email_id
    return email


async def test_failed_and_unknown_emails_are_named_with_their_reasons(crm: Crm, router: Database) -> None:
    await crm.owner("ann@in.test")
    process_id = uuid4()
    await processes.beat(router, process_id)
    outcomes = [
        Outcome("karl@kunde.test", "refused", "5.1.1", "550 5.1.1 nobody"),
        Outcome("karl@kunde.test", "refused", "5.1.1", "550 5.1.1 nobody"),
        Outcome("karl@kunde.test", "refused", "550", "550 no"),
        Outcome("karl@kunde.test", "deferred", "4.4.1", "451 4.4.1 later"),
    ]
    failed = []
    for outcome in outcomes:
        email = await claimed(crm, router, process_id)
        await outbox.record(router, [Result(email.id, email.attempt_id, "failed", outcome.text, (outcome,))])
        failed.append(email.id)
    lost = await claimed(crm, router, process_id)
    await outbox.start(router, process_id, [outbox.Start(lost.attempt_id, "relay", resend=False)])
    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 hour'")
    assert await recovery.recover(router, uuid4(), LEASE) == 1
    found = await read_status(router, LEASE)
    assert [(one.code, one.count) for one in found.failed] == [("5.1", 2), ("4.4", 1), ("5", 1)]
    assert sum(one.given_up for one in found.failed) == 0
    await crm.admin.execute("UPDATE crm.delivery SET state = 'given_up' WHERE email_id = $1", failed[3])
    given_up = {one.code: one.given_up for one in (await read_status(router, LEASE)).failed}
    assert given_up == {"5.1": 0, "4.4": 1, "5": 0}
    assert set(found.failed[0].email_ids) == set(failed[:2])
    assert (found.unknown.count, found.unknown.email_ids) == (1, (lost.id,))
    assert found.unknown.since is not None
    # A person decides, and sends one of the others again: neither is told any more.
    await crm.move(lost.id, "sent")
    await crm.move(failed[0], "pending_send")
    await crm.admin.execute("UPDATE router.unsent SET since = now() - interval '2 days' WHERE email_id = $1", failed[2])
    found = await read_status(router, LEASE)
    assert (found.unknown.count, found.unknown.since, found.unknown.email_ids) == (0, None, ())
    assert [(one.code, one.count) for one in found.failed] == [("4.4", 1), ("5.1", 1)]
    await crm.admin.execute("DELETE FROM crm.email WHERE id = $1", failed[1])
    assert [one.code for one in (await read_status(router, LEASE)).failed] == ["4.4"]


async def test_what_waits_is_counted_by_what_it_waits_for(crm: Crm, router: Database, tmp_path: Path) -> None:
    await crm.owner("ann@in.test")
    await crm.owner("new@in.test", approved=False)
    # No process has found a profile for them yet.
    first = await crm.send("ann@in.test", "karl@kunde.test", "An offer")
    assert [(one.profile, one.cause, one.due) for one in (await read_queue(router)).waiting] == [(None, "turn", 1)]
    assert (await read_queue(router)).oldest_due is not None
    await carry(router)
    ids = [first, *[await crm.send("ann@in.test", "karl@kunde.test", f"Offer {number}") for number in range(3)]]
    await crm.send("new@in.test", "karl@kunde.test", "Hello")
    await crm.owner("bob@other.test")
    await routes.write(router, uuid4(), LEASE, [Route(await owner_of(crm, "bob@other.test"), None, "no one", "")], [])
    await crm.send("bob@other.test", "karl@kunde.test", "Hello")
    await crm.admin.execute("UPDATE crm.email SET lane = 'bulk' WHERE id = $1", ids[0])
    await crm.sql.execute("UPDATE crm.email SET send_after = now() + interval '1 day' WHERE id = $1", ids[1])
    await crm.admin.execute(
        "UPDATE router.outbox SET next_at = now() + interval '1 hour', ready = false WHERE email_id = $1", ids[2]
    )

    async def counted() -> Counts:
        found = (await read_status(router, LEASE)).outbox
        assert not found.more()
        progress = await crm.rows(
            "SELECT waits_for, count(*) AS count FROM crm.email_progress WHERE waits_for IS NOT NULL GROUP BY 1"
        )
        # The CRM is told the same.
        by_cause = Counter[str]()
        for one in found.waiting:
            by_cause["relay" if one.cause == "login" else one.cause] += one.count
        if "admin" not in by_cause:
            assert by_cause == {row["waits_for"]: row["count"] for row in progress}
        return {(one.profile, one.lane, one.cause): one.count for one in found.waiting}

    nobodys: Counts = {(None, "normal", "approval"): 1, (None, "normal", "profile"): 1}
    later: Counts = {("relay", "normal", "send_after"): 1}
    waiting: Counts = {("relay", "normal", "retry"): 1}
    assert await counted() == {
        **nobodys, **later, **waiting, ("relay", "bulk", "turn"): 1, ("relay", "normal", "turn"): 1,
    }  # fmt: skip
    process_id = uuid4()
    for state, cause in (("paused", "relay"), ("login_refused", "login")):
        await crm.admin.execute("DELETE FROM router.relay")
        await relays.note_fault(router, "relay", process_id, state, "535 no", 1)  # type: ignore[arg-type]  # words
        assert await counted() == {**nobodys, **later, ("relay", "bulk", cause): 1, ("relay", "normal", cause): 2}
        [relay] = (await read_status(router, LEASE)).relays
        assert (relay.state, relay.waiting, relay.more) == (state, 2, False)
    await crm.admin.execute("DELETE FROM router.relay")
    await set_sending(router, on=False, by="Karl")
    assert await counted() == {
        **nobodys, **later, **waiting, ("relay", "bulk", "admin"): 1, ("relay", "normal", "admin"): 1,
    }  # fmt: skip
    sending = (await operation.read(router, LEASE, tmp_path)).status.sending
    assert (sending.on, sending.by, sending.reason) == (False, "Karl", None)


async def test_the_metrics_are_told_what_waits_and_what_state_relays_are_in(crm: Crm, router: Database) -> None:
    await crm.owner("ann@in.test")
    await carry(router)
    await crm.send("ann@in.test", "karl@kunde.test", "An offer")
    metrics.serve([("relay", "relay")])
    try:
        await ready._sample_queue(router)
        told = parse(metrics.exposition().decode())
        assert value(told, "email_router_outbox", profile="relay", lane="normal", cause="turn") == 1
        assert value(told, "email_router_relay_state", profile="relay", state="working") == 1
        await relays.note_fault(router, "relay", uuid4(), "login_refused", "535 no", 1)
        await ready._sample_queue(router)
        told = parse(metrics.exposition().decode())
        assert value(told, "email_router_outbox", profile="relay", lane="normal", cause="login") == 1
        assert value(told, "email_router_relay_state", profile="relay", state="login_refused") == 1
        assert value(told, "email_router_outbox_due") == 1
    finally:
        metrics.serve([])


async def test_copies_that_wait_or_were_given_up_are_told(crm: Crm, router: Database) -> None:
    owner_id = await crm.owner("ann@in.test")
    ids = [await crm.send("ann@in.test", "karl@kunde.test", f"Offer {number}") for number in range(5)]
    await crm.admin.executemany(
        "INSERT INTO router.sent_copy (email_id, owner_id, profile, fault, appended_at, given_up_at) "
        f"VALUES ($1, '{owner_id}', 'staff', $2, $3, $4)",  # an id
        [
            (ids[0], "the mailbox is full", None, None),
            (ids[1], "no Sent folder", None, datetime.now(UTC)),
            (ids[2], "no Sent folder", None, datetime.now(UTC) - timedelta(days=2)),
            (ids[3], None, datetime.now(UTC), None),
            (ids[4], None, None, None),
        ],
    )
    told = (await read_status(router, LEASE)).sent_copies
    assert {(one.fault, one.count, one.given_up) for one in told} == {
        ("the mailbox is full", 1, False), ("no Sent folder", 1, True),
    }  # fmt: skip


async def owner_of(crm: Crm, mailbox: str) -> UUID:
    [row] = await crm.admin.fetch("SELECT record_id FROM crm.owner WHERE mailbox = $1", mailbox)
    return UUID(str(row["record_id"]))


async def test_no_table_that_grows_is_read(router: Database) -> None:
    """The plans of all that status asks: one row a source, an owner, a process; else by index."""
    queries: list[str] = []
    async with router.connection() as connection:
        with connection.query_logger(lambda record: queries.append(record.query)):
            await read_status(Lent(connection), LEASE)
        await connection.execute(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan"
        )
        plans = []
        for query in queries:
            if re.search(r"\b(router|crm)\.", query):
                await connection.execute("PREPARE asked AS " + query)
                arguments = ", ".join(["NULL"] * len(set(re.findall(r"\$\d", query))))
                rows = await connection.fetch(f"EXPLAIN EXECUTE asked{f'({arguments})' if arguments else ''}")
                plans.append("\n".join(row[0] for row in rows))
                await connection.execute("DEALLOCATE asked")
    assert len(plans) == 15
    text = "\n".join(plans)
    for table in ("decision", "attempt", "message", "message_id", "event", "party", "receipt", "kept_content"):
        assert not re.search(rf" on {table}\b", text), text
    for scan in re.findall(r"(.*) on (?:outbox|sent_copy|unresolved_email)\b", text):
        assert "Index" in scan, text
    for table in ("delivery", "unsent", "record", "email"):
        looks = re.findall(rf"(.*) on {table}\b.*\n(.*)", text)
        assert looks
        for scan, condition in looks:
            assert "Index" in scan, text
            assert "Index Cond: " in condition, text


class Lent(Database):
    """Lends this one connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("")
        self._lent = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield self._lent


# --- Faults ----------------------------------------------------------------------------------------------------------


def profile(name: str = "staff", **changes: Any) -> ServedProfile:
    whole = ServedProfile("incoming", name, "imap", "a.toml", 1, "mailbox", ("*@in.test",), form="one")
    return replace(whole, **changes)


async def test_faults_have_since_and_next_try_and_can_be_asked_for_alone(
    crm: Crm, router: Database, tmp_path: Path
) -> None:
    ann, bob = await crm.owner("ann@in.test"), await crm.owner("bob@in.test")
    ids = [await make_source(router, ann, "ann@in.test"), await make_source(router, bob, "bob@in.test")]
    process_id = uuid4()
    await processes.beat(router, process_id)
    relay = profile("mx", direction="outgoing", kind="smtp", role=None, owners=(), senders=("*@in.test",))
    await processes.note_profiles(router, process_id, [profile(), profile("other", owners=("*@x.test",)), relay])
    soon = datetime.now(UTC) + timedelta(seconds=40)
    await sources.note_fault(router, ids[0], "wrong password", soon)
    await sources.note_fault(router, ids[0], "no such host", soon)
    for name, words in (("mx", "no connection"), ("former", "an old word")):
        await relays.note_fault(router, name, process_id, "paused", words, 1)
    await crm.admin.execute("UPDATE router.relay SET next_try_at = $1", soon)
    report = await operation.read(router, LEASE, tmp_path)
    told = [(one.part, one.name, one.words, one.next_try_at) for one in report.faults]
    assert told == [
        ("relay", "mx", "no connection", soon),
        ("source", "staff ann@in.test INBOX", "no such host", soon),
    ]
    assert all(one.since is not None for one in report.faults)
    for only, expected in {
        Only("staff"): ["source"],
        Only("incoming.staff"): ["source"],
        Only("mx"): ["relay"],
        Only("other"): [],
        Only(mailbox="Ann@in.test"): ["relay", "source"],
        Only(mailbox="bob@in.test"): ["relay"],
        Only("staff", "bob@in.test"): [],
    }.items():
        report = await operation.read(router, LEASE, tmp_path, only)
        assert [one.part for one in report.faults] == expected, only
    for only, words in {
        Only("incoming.otter"): "there is no profile 'incoming.otter'; there are mx, other, staff",
        Only(mailbox="zed@in.test"): "no owner has the mailbox zed@in.test",
    }.items():
        with pytest.raises(UnknownName, match=f"^{words}$"):
            await operation.read(router, LEASE, tmp_path, only)
    await operation.read(router, LEASE, tmp_path, Only("former"))  # its relay was once at fault
    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 hour'")
    # No router runs and the folder is empty, so nothing tells which profiles there are.
    report = await operation.read(router, LEASE, tmp_path, Only("other"))
    assert [(one.part, one.since is not None) for one in report.faults] == [("router", True)]
    report = await operation.read(router, LEASE, tmp_path)
    assert {one.next_try_at for one in report.faults} == {None}  # nobody tries


async def test_where_no_process_runs_that_is_the_first_and_other_faults_are_of_its_time(
    crm: Crm, router: Database, tmp_path: Path
) -> None:
    source_id = await make_source(router, await crm.owner("ann@in.test"), "ann@in.test")
    await sources.note_fault(router, source_id, "no such host")
    report = await operation.read(router, LEASE, tmp_path)
    assert [one.words for one in report.faults if one.part in ("router", "source")] == [
        'no router process runs, so nothing is read or sent: "email-router run" starts one',
        "when it last ran: no such host",
    ]
    await processes.beat(router, uuid4())
    await crm.admin.execute("UPDATE router.process SET seen_at = '2026-11-28T12:00Z'")
    report = await operation.read(router, LEASE, tmp_path)
    assert [one.words for one in report.faults if one.part == "source"] == [
        "as of 2026-11-28 12:00 UTC, when the last process ended: no such host"
    ]


async def test_a_process_of_another_version_may_say_more(crm: Crm, router: Database) -> None:
    process_id = uuid4()
    await processes.beat(router, process_id)
    served = [profile(fault="a \0 broken line"), profile("sink", tracking_rule=Rule.KNOWN, forwarders=("*@in.test",))]
    await processes.note_profiles(router, process_id, served)
    [process] = await processes.list_processes(router, LEASE)
    assert [one.name for one in process.profiles] == ["staff", "sink"]
    assert process.profiles[1] == served[1]
    assert process.clock_ahead is not None
    assert abs(process.clock_ahead) < 5
    later = """[{"direction": "incoming", "name": "x", "kind": "jmap", "file": "b.toml", "line": 3, "color": "red"}]"""
    await crm.admin.execute("UPDATE router.process SET profiles = $1", later)
    [process] = await processes.list_processes(router, LEASE)
    assert process.profiles == (ServedProfile("incoming", "x", "jmap", "b.toml", 3),)


async def test_a_fault_of_a_lease_that_reads_again_is_gone_with_its_times(crm: Crm, router: Database) -> None:
    ann = await crm.owner("ann@in.test")
    source_id = await make_source(router, ann, "ann@in.test")
    process_id = uuid4()
    await processes.beat(router, process_id)
    [lease] = await sources.acquire(router, process_id, [source_id], LEASE)
    await sources.note_fault(router, source_id, "no", datetime.now(UTC))
    await Promoter(router).promote(Batch([], lease, Cursor("1:1")))
    [source] = (await read_status(router, LEASE)).sources
    assert (source.fault, source.fault_since, source.next_try_at) == (None, None, None)


async def test_a_source_tells_its_lag_and_when_it_worked_last(crm: Crm, senders: Senders) -> None:
    now = datetime.now(UTC)
    first, second, old = (senders.copy(senders.message(f"{name}@kunde.test")) for name in "abc")
    await senders.promote([
        replace(first, received_at=now - timedelta(minutes=9)), replace(second, received_at=now - timedelta(minutes=3)),
    ])  # fmt: skip
    [one] = (await read_status(senders.database, LEASE)).sources
    assert 180 <= (one.lag or 0) < 240
    # What lay there for days was not late, and what bears a time to come came just now.
    await senders.promote([replace(old, received_at=now - timedelta(days=3))])
    [one] = (await read_status(senders.database, LEASE)).sources
    assert 180 <= (one.lag or 0) < 240
    await senders.promote([replace(senders.copy(senders.message("d@kunde.test")), received_at=now + timedelta(days=1))])
    [one] = (await read_status(senders.database, LEASE)).sources
    assert one.lag == 0
    await crm.admin.execute("UPDATE router.source SET fault = 'no', fault_since = $1", now)
    [one] = (await read_status(senders.database, LEASE)).sources
    assert one.success_at == now
