"""An answer that comes before the email that it answers is linked, or decided again, when that one comes (T34)."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.decide import decide_batch
from router.incoming.promote import Promoter
from router.model import Classification, Copy, Decision, Facts, Forward, Report, message_id_hash
from router.outgoing.outcome import judge
from router.repository import upkeep
from router.repository.database import Database
from router.repository.incoming import again, inbox, settle, waiting
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source, register
from router.repository.incoming.sources import Lease
from router.repository.outgoing import outbox
from tests.integration.test_open_transactions import INSERTED
from tests.integration.test_promote import Crm, Lent, _outgoing, copies, message
from tests.support.build import reading
from tests.support.claims import claim_some
from transports.base import Outcome, Place

PARENT = "1@kunde.test"
ANSWER = message(2, in_reply_to=(PARENT,))
WEEK = timedelta(weeks=1)
FUNCTIONS = ["router.thread_above", "router.thread_regarding"]

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def ours(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
async def another(database: str) -> AsyncIterator[Database]:
    """The database as another process of ours has it."""
    async with Database(database) as opened:
        yield opened


@pytest.fixture
def crm(ours: Database) -> Crm:
    return Crm(ours)


@pytest.fixture
async def developer(database: str) -> AsyncIterator[Session]:
    """Another session: that of the CRM."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def mailbox(crm: Crm, name: str, rule: str) -> tuple[Lease, UUID]:
    owner_id = await crm.owner(f"{name}@example.com", rule)
    return await crm.source(owner_id, f"{name}@example.com"), owner_id


async def bring_in(database: Database, batch: list[Copy], lease: Lease | None, **more: Any) -> list[Decision]:
    return await inbox.promote(database, Batch(batch, lease, **more), decide_batch)


async def keep_up(database: Database) -> None:
    """What the job of the upkeep does in a round."""
    while await upkeep.move_known_ids(database):
        pass
    while await waiting.link_answer(database):
        pass


async def answer_of(crm: Crm, message_id: str = "2@kunde.test") -> asyncpg.Record:
    [row] = await crm.rows(
        "SELECT e.*, d.reasons FROM crm.email AS e JOIN router.decision AS d ON d.email_id = e.id "
        "AND d.disposition = 'promoted' WHERE e.message_id = $1",
        message_id,
    )
    return row


async def balance(crm: Crm) -> list[asyncpg.Record]:
    """What the counts say of each source, and what its decisions say, where they differ."""
    return await crm.rows(
        """
        SELECT * FROM (
            SELECT source_id, count(*) FILTER (WHERE disposition = 'promoted') AS promoted,
                count(*) FILTER (WHERE disposition = 'duplicate') AS duplicate,
                count(*) FILTER (WHERE disposition = 'ignored') AS ignored,
                count(*) FILTER (WHERE disposition = 'held') AS held,
                count(*) FILTER (WHERE disposition = 'dead') AS dead
            FROM router.decision GROUP BY source_id
        ) AS d FULL JOIN router.source_count AS c USING (source_id)
        WHERE (d.promoted, d.duplicate, d.ignored, d.held, d.dead)
            IS DISTINCT FROM (c.promoted, c.duplicate, c.ignored, c.held, c.dead)
        """
    )


async def until_somebody_waits(crm: Crm) -> None:
    async with asyncio.timeout(2.5):
        while not await crm.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)


class Held:
    """Decides as ever, but only when it is let: the facts are read then, and nothing is written."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self, batch: Sequence[Copy], facts: Facts) -> list[Decision]:
        self.reached.set()
        assert self.go.wait(10)
        return decide_batch(batch, facts)


async def test_t34_an_answer_that_was_promoted_is_linked_when_the_mail_that_it_answers_comes(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    other, otto = await mailbox(crm, "otto", "all")
    await bring_in(crm.database, copies(lease, ulla, [ANSWER]), lease)
    await keep_up(crm.database)
    assert (await answer_of(crm))["correlated_id"] is None
    [parent] = await bring_in(crm.database, copies(other, otto, [message(1)]), other)
    assert parent.email is not None
    await keep_up(crm.database)
    answer = await answer_of(crm)
    assert (answer["correlated_id"], answer["correlation_method"]) == (parent.email_id, "in-reply-to")
    assert answer["reasons"][-1] == "the email that it answers came later: it answers a CRM email, by in-reply-to"
    [event] = await crm.rows("SELECT * FROM crm.event WHERE kind = 'correlated'")
    assert event["email_id"] == answer["id"]
    assert await crm.value("SELECT count(*) FROM router.waiting_answer") == 0
    assert await crm.value("SELECT count(*) FROM router.known_id") == 0


async def test_t34_an_answer_under_replies_is_decided_again_once_when_the_mail_that_it_answers_comes(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "replies")
    other, otto = await mailbox(crm, "otto", "all")
    settles = {"settles": frozenset({"promoted", "duplicate"})}
    [ignored] = await bring_in(crm.database, copies(lease, ulla, [ANSWER]), lease, **settles)
    assert ignored.disposition == "ignored"
    [parent] = await bring_in(crm.database, copies(other, otto, [message(1)]), other)
    assert await again.due(crm.database, lease.source_id, 10) == {}
    await keep_up(crm.database)
    assert await settle.with_rest(crm.database, [lease.source_id, other.source_id], WEEK) == [lease.source_id]
    places = list(await again.due(crm.database, lease.source_id, 10))
    assert places == [Place("1", "1")]
    # Without being asked to, nobody decides anything again.
    fetched = copies(lease, ulla, [ANSWER])
    await bring_in(crm.database, fetched, lease)
    assert await crm.value("SELECT count(*) FROM crm.email") == 1
    twice = await asyncio.gather(*(bring_in(crm.database, fetched, lease, again=True, **settles) for _ in range(2)))
    assert sorted(decision.disposition for [decision] in twice) == ["ignored", "promoted"]
    answer = await answer_of(crm)
    assert (answer["correlated_id"], answer["correlation_method"]) == (parent.email_id, "in-reply-to")
    assert answer["reasons"][0] == "the email that it answers came later, so it was decided again"
    assert await settle.unsettled(crm.database, lease.source_id, WEEK * 0) == places
    assert await again.due(crm.database, lease.source_id, 10) == {}
    assert await crm.value("SELECT count(*) FROM router.decision") == 2
    assert await balance(crm) == []


@pytest.mark.parametrize("rule", ["all", "replies"])
async def test_t34_two_processes_commit_the_answer_and_what_it_answers_at_once(
    crm: Crm, another: Database, rule: str
) -> None:
    lease, ulla = await mailbox(crm, "ulla", rule)
    other, otto = await mailbox(crm, "otto", "all")
    held = Held()
    answering = asyncio.create_task(inbox.promote(crm.database, Batch(copies(lease, ulla, [ANSWER]), lease), held))
    await asyncio.to_thread(held.reached.wait)
    sending = asyncio.create_task(bring_in(another, copies(other, otto, [message(1)]), other))
    await until_somebody_waits(crm)
    held.go.set()
    await asyncio.gather(answering, sending)
    await asyncio.gather(keep_up(crm.database), keep_up(another))
    await bring_in(crm.database, copies(lease, ulla, [ANSWER]), lease, again=True)
    assert (await answer_of(crm))["correlated_id"] == sending.result()[0].email_id


async def test_t34_the_crm_commits_what_is_answered_just_after_the_answer_was_judged(
    crm: Crm, another: Database, developer: Session
) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    held = Held()
    async with developer.transaction():
        offer = await developer.fetchval(INSERTED, PARENT, ulla)
        answering = asyncio.create_task(inbox.promote(crm.database, Batch(copies(lease, ulla, [ANSWER]), lease), held))
        await asyncio.to_thread(held.reached.wait)
    filing = asyncio.create_task(upkeep.move_known_ids(another))
    await until_somebody_waits(crm)
    held.go.set()
    await asyncio.gather(answering, filing)
    await keep_up(another)
    assert (await answer_of(crm))["correlated_id"] == offer


@pytest.mark.parametrize("rule", ["all", "replies"])
async def test_t34_pairs_that_come_in_any_order_by_two_processes_are_all_linked(
    crm: Crm, another: Database, rule: str
) -> None:
    lease, ulla = await mailbox(crm, "ulla", rule)
    other, otto = await mailbox(crm, "otto", "all")
    questions = [message(n, message_id=f"q{n}@kunde.test") for n in range(40)]
    answers = [message(n, in_reply_to=(f"q{n}@kunde.test",)) for n in range(40)]
    numbers = list(range(40))
    Random(1).shuffle(numbers)
    await asyncio.gather(
        *(bring_in(crm.database, copies(lease, ulla, [answers[n]], n + 1), lease) for n in numbers),
        *(bring_in(another, copies(other, otto, [questions[n]], n + 1), other) for n in range(40)),
        keep_up(crm.database),
        keep_up(another),
    )
    await asyncio.gather(keep_up(crm.database), keep_up(another))
    await bring_in(crm.database, copies(lease, ulla, answers), lease, again=True)
    linked = await crm.value(
        "SELECT count(*) FROM crm.email AS e JOIN crm.email AS p ON p.id = e.correlated_id "
        "WHERE p.message_id = e.in_reply_to"
    )
    assert linked == 40
    assert await crm.value("SELECT count(*) FROM router.waiting_answer") == 0
    assert await balance(crm) == []


async def test_t34_an_answer_and_then_what_it_answers_in_one_batch_are_linked(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    _, parent = await bring_in(crm.database, copies(lease, ulla, [ANSWER, message(1)]), lease)
    await keep_up(crm.database)
    assert (await answer_of(crm))["correlated_id"] == parent.email_id


async def test_t34_of_several_emails_that_were_found_the_nearest_is_answered(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    answer = message(3, references=("first@kunde.test", PARENT))
    await bring_in(crm.database, copies(lease, ulla, [answer]), lease)
    first = message(1, message_id="first@kunde.test")
    _, near = await bring_in(crm.database, copies(lease, ulla, [first, message(1)], 2), lease)
    await keep_up(crm.database)
    row = await answer_of(crm, "3@kunde.test")
    assert (row["correlated_id"], row["correlation_method"]) == (near.email_id, "references")


@pytest.mark.parametrize("how", ["claimed", "named by its relay"])
async def test_t34_an_answer_is_linked_to_an_email_that_the_router_sends(crm: Crm, how: str) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    email_id = await _outgoing(crm, ulla, "draft")
    await crm.execute("UPDATE crm.email SET message_id = $1 WHERE id = $2", PARENT, email_id)
    await crm.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
    if how == "claimed":
        await bring_in(crm.database, copies(lease, ulla, [ANSWER]), lease)
    [claimed] = await claim_some(crm.database, lease.process_id, 1)
    if how != "claimed":
        relays = "010201932f6e1c7b-8f1d2c3b-11aa-22bb-33cc-000000"
        answer = message(2, in_reply_to=(f"{relays}@eu-west-1.amazonses.com",))
        await bring_in(crm.database, copies(lease, ulla, [answer]), lease)
        await keep_up(crm.database)
        assert (await answer_of(crm))["correlated_id"] is None
        await outbox.start(crm.database, lease.process_id, [outbox.Start(claimed.attempt_id, "relay", False)])
        taken = Outcome("karl@kunde.test", "accepted", "2.0.0", f"250 Ok {relays}")
        await outbox.record(crm.database, [judge(claimed, [taken], 10, datetime.now(UTC), Random(1))])
    await keep_up(crm.database)
    assert (await answer_of(crm))["correlated_id"] == email_id


async def test_t34_a_report_that_comes_before_the_crm_inserts_the_email_is_decided_again(
    crm: Crm, developer: Session
) -> None:
    lease, ulla = await mailbox(crm, "ulla", "replies")
    report = Classification("a report", Report("bounce", message_ids=("offer@example.com",)))
    [bounce] = copies(lease, ulla, [message(1)])
    bounce = replace(bounce, reading=reading(bounce.message, report))
    [ignored] = await bring_in(crm.database, [bounce], lease)
    assert ignored.disposition == "ignored"
    offer = await developer.fetchval(INSERTED, "offer@example.com", ulla)
    await keep_up(crm.database)
    await bring_in(crm.database, [bounce], lease, again=True)
    answer = await answer_of(crm, "1@kunde.test")
    assert (answer["correlated_id"], answer["correlation_method"]) == (offer, "report")


async def test_t34_what_a_listener_took_and_the_rule_ignored_says_that_it_is_gone(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "replies")
    source = Source("lmtp", "", "lmtp:24", "", None, "all")
    source_id = (await register(crm.database, [source]))[source]
    [copy] = copies(Lease(source_id, uuid4(), 1, "", None, True, datetime.now(UTC)), owner_id, [ANSWER])
    await bring_in(crm.database, [copy], None, keeps=True)
    other, otto = await mailbox(crm, "otto", "all")
    await bring_in(crm.database, copies(other, otto, [message(1)]), other)
    await keep_up(crm.database)
    reasons = await crm.value("SELECT reasons FROM router.decision WHERE source_id = $1", source_id)
    assert reasons == [
        "answers no CRM email",
        (
            "the email that it answers came later, but what a listener took and the rule ignored is not kept: "
            "it cannot be decided again"
        ),
    ]
    assert await again.due(crm.database, source_id, 10) == {}


async def test_t34_a_forward_waits_for_nothing_nor_does_what_the_rule_ignores_in_any_case(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    other, otto = await mailbox(crm, "otto", "known")
    third, none = await mailbox(crm, "nora", "none")
    await bring_in(crm.database, copies(lease, ulla, [replace(ANSWER, subject="Fwd: Number 1")]), lease)
    for held, owner, number in ((third, none, 0), (other, otto, 1)):  # `known` wants answers, too
        [ignored] = await bring_in(crm.database, copies(held, owner, [message(5, in_reply_to=(PARENT,))]), held)
        assert ignored.disposition == "ignored"
        assert await crm.value("SELECT count(DISTINCT decision_id) FROM router.waiting_answer") == number


async def test_t34_an_answer_that_a_person_moved_is_decided_again_where_it_is_now(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "replies")
    await bring_in(crm.database, copies(lease, ulla, [ANSWER]), lease)
    moved = copies(lease, ulla, [ANSWER], 7)
    await bring_in(crm.database, moved, lease)  # another folder would be another source, and no other case
    [parent] = await bring_in(crm.database, copies(lease, ulla, [replace(message(1), message_id=PARENT)], 8), lease)
    assert parent.disposition == "ignored"
    other, otto = await mailbox(crm, "otto", "all")
    await bring_in(crm.database, copies(other, otto, [message(1)]), other)
    await keep_up(crm.database)
    due = await again.due(crm.database, lease.source_id, 10)
    assert list(due) == [Place("1", "1"), Place("1", "7")]
    await bring_in(crm.database, moved, lease, again=True)
    await again.give_up(crm.database, [one for ids in due.values() for one in ids], "but it is gone")
    rows = await crm.rows(
        "SELECT place, disposition FROM router.decision WHERE source_id = $1 ORDER BY place", lease.source_id
    )
    assert [tuple(row) for row in rows] == [("1", "duplicate"), ("7", "promoted"), ("8", "duplicate")]
    assert await again.due(crm.database, lease.source_id, 10) == {}
    assert await balance(crm) == []


async def test_a_place_that_holds_another_message_by_now_keeps_its_decision(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "replies")
    await bring_in(crm.database, copies(lease, ulla, [ANSWER]), lease)
    await crm.execute("INSERT INTO router.decide_again SELECT id, source_id, 'asked' FROM router.decision")
    await crm.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    await bring_in(crm.database, copies(lease, ulla, [message(9)]), lease, again=True)
    assert await crm.value("SELECT count(*) FROM crm.email") == 0
    [decisions] = (await again.due(crm.database, lease.source_id, 10)).values()
    await again.give_up(crm.database, decisions, "but it is not where it was any more")
    assert await crm.value("SELECT reasons[2] FROM router.decision") == "asked; but it is not where it was any more"
    assert await again.due(crm.database, lease.source_id, 10) == {}


@pytest.mark.parametrize("alone", [True, False])
async def test_what_cannot_be_stored_when_it_is_decided_again_is_a_dead_letter_then(crm: Crm, alone: bool) -> None:
    lease, ulla = await mailbox(crm, "ulla", "replies")
    await crm.execute("ALTER TABLE crm.email ADD CHECK (subject <> 'broken')")
    batch = copies(lease, ulla, [replace(ANSWER, subject="broken"), message(3, in_reply_to=(PARENT,))])
    if not alone:  # both lie in one forwarded mail
        forward = Forward(Place("1", "1"), "attached", "ulla@example.com", None, None)
        batch = [replace(copy, place=Place("1", f"1:{n}"), forward=forward) for n, copy in enumerate(batch, 1)]
    await Promoter(crm.database).promote(Batch(batch, lease, keeps=not alone))
    other, otto = await mailbox(crm, "otto", "all")
    await bring_in(crm.database, copies(other, otto, [message(1)]), other)
    await keep_up(crm.database)
    await Promoter(crm.database).promote(Batch(batch, lease, again=True, keeps=not alone))
    rows = await crm.rows(
        "SELECT disposition FROM router.decision WHERE source_id = $1 ORDER BY place", lease.source_id
    )
    assert [row[0] for row in rows] == ["dead", "promoted"]
    assert await again.due(crm.database, lease.source_id, 10) == {}
    assert await balance(crm) == []


async def test_an_answer_that_the_crm_has_locked_is_linked_later_and_holds_up_no_other(
    crm: Crm, developer: Session
) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    answers = [message(n, in_reply_to=(PARENT,)) for n in (2, 3)]
    await bring_in(crm.database, copies(lease, ulla, answers), lease)
    async with developer.transaction():
        await developer.execute("UPDATE crm.email SET subject = 'mine' WHERE message_id = '2@kunde.test'")
        [parent] = await bring_in(crm.database, copies(lease, ulla, [message(1)], 3), lease)
        await keep_up(crm.database)
        assert (await answer_of(crm, "3@kunde.test"))["correlated_id"] == parent.email_id
        assert (await answer_of(crm))["correlated_id"] is None
    assert not await waiting.link_answer(crm.database)
    await crm.execute("UPDATE router.waiting_answer SET try_at = now() WHERE try_at < now() + interval '2 minutes'")
    await keep_up(crm.database)
    assert (await answer_of(crm))["correlated_id"] == parent.email_id


async def test_what_a_person_said_of_an_answer_since_holds(crm: Crm, developer: Session) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    answers = [message(n, in_reply_to=("offer@example.com",)) for n in range(4)]
    await bring_in(crm.database, copies(lease, ulla, answers), lease)
    inherited, theirs, linked = uuid4(), uuid4(), uuid4()
    set_regarding = "UPDATE crm.email SET regarding_id = $1 WHERE message_id = $2"
    await developer.execute(set_regarding, theirs, "1@kunde.test")
    await developer.execute(set_regarding, theirs, "2@kunde.test")
    await developer.execute(set_regarding, None, "2@kunde.test")
    await developer.execute("UPDATE crm.email SET correlated_id = $1 WHERE message_id = '3@kunde.test'", linked)
    offer = await developer.fetchval(INSERTED, "offer@example.com", ulla)
    await developer.execute("UPDATE crm.email SET regarding_id = $1 WHERE id = $2", inherited, offer)
    await keep_up(crm.database)
    rows = [await answer_of(crm, f"{n}@kunde.test") for n in range(4)]
    assert [(row["correlated_id"], row["regarding_id"]) for row in rows] == [
        (offer, inherited),
        (offer, theirs),
        (offer, None),
        (linked, None),
    ]
    assert "new-on-thread" in rows[0]["flags"]


async def test_no_email_ever_answers_itself(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    itself = message(1, in_reply_to=("1@kunde.test",))
    first, second = message(2, in_reply_to=("3@kunde.test",)), message(3, in_reply_to=("2@kunde.test",))
    for uid, one in enumerate((itself, first, second), 1):
        await bring_in(crm.database, copies(lease, ulla, [one], uid), lease)
        await keep_up(crm.database)
    rows = await crm.rows("SELECT message_id FROM crm.email WHERE correlated_id IS NULL ORDER BY message_id")
    assert [row[0] for row in rows] == ["1@kunde.test", "2@kunde.test"]
    assert await crm.value("SELECT count(*) FROM router.waiting_answer") == 0


async def test_an_answer_waits_for_14_days(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "all")
    await bring_in(crm.database, copies(lease, ulla, [ANSWER, message(3, in_reply_to=("x@y",))]), lease)
    waits = (
        "SELECT extract(day FROM until - decided_at) FROM router.waiting_answer, router.decision WHERE id = decision_id"
    )
    assert {row[0] for row in await crm.rows(waits)} == {14}
    assert await waiting.prune(crm.database) == 0
    await crm.execute(
        "UPDATE router.waiting_answer SET until = now() - interval '1 second' WHERE hash = $1", message_id_hash(PARENT)
    )
    assert await waiting.prune(crm.database) == 1
    await bring_in(crm.database, copies(lease, ulla, [message(1)], 3), lease)
    await keep_up(crm.database)
    assert (await answer_of(crm))["correlated_id"] is None


async def test_all_that_waits_is_found_by_an_index(crm: Crm) -> None:
    lease, ulla = await mailbox(crm, "ulla", "replies")
    other, otto = await mailbox(crm, "otto", "all")
    queries: list[str] = []
    async with crm.database.connection() as connection:
        lent = Lent(connection)
        with connection.query_logger(lambda record: queries.append(record.query)):
            await bring_in(lent, copies(lease, ulla, [ANSWER]), lease)
            await bring_in(lent, copies(other, otto, [replace(ANSWER, message_id="4@kunde.test")]), other)
            await bring_in(lent, copies(other, otto, [message(1)], 2), other)
            await keep_up(lent)
            [decisions] = (await again.due(lent, lease.source_id, 10)).values()
            await bring_in(lent, copies(lease, ulla, [ANSWER]), lease, again=True)
            await again.give_up(lent, decisions, "gone")
            await settle.with_rest(lent, [lease.source_id], WEEK)
            await waiting.tell_awaited(connection, [message_id_hash(PARENT)])
            await waiting.prune(lent)
        assert await connection.fetchval("SELECT count(*) FROM crm.email WHERE correlated_id IS NOT NULL") == 2
        await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        bodies = await connection.fetch("SELECT prosrc FROM pg_proc WHERE oid = ANY($1::text[]::regproc[])", FUNCTIONS)
        for query in {*queries, *(re.sub(r"\bemail_id\b", "$1::uuid", body["prosrc"]) for body in bodies)}:
            if not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", query):
                continue
            await connection.execute("PREPARE asked AS " + query)
            number = await connection.fetchval(
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'"
            )
            arguments = f"({', '.join(['NULL'] * number)})" if number else ""
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE asked{arguments}"))
            assert "Seq Scan" not in plan, f"{query}\n{plan}"
            await connection.execute("DEALLOCATE asked")
