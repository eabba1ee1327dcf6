"""What a CRM sees of an email under way: its recipients by state, why it waits, when it is tried next; its thread."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.support.crm import Crm

ULLA, KARL = "ulla@in.test", "karl@kunde.test"
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


@pytest.fixture
async def pending(crm: Crm) -> UUID:
    await crm.owner(ULLA)
    return await crm.send(ULLA, [KARL, "kati@kunde.test"], "Offer", "Chairs", cc=[KARL], bcc=["kurt@kunde.test"])


async def progress(crm: Crm, email_id: UUID) -> asyncpg.Record:
    """Return what the CRM sees."""
    [row] = await crm.rows("SELECT * FROM crm.email_progress WHERE email_id = $1", email_id)
    return row


async def attempted(crm: Crm, email_id: UUID, profile: str, outcome: str) -> None:
    """Make an attempt that is over."""
    await crm.admin.execute(
        "INSERT INTO router.attempt (id, email_id, number, process_id, profile, started_at, finished_at, outcome) "
        "VALUES ($1, $2, 1, $1, $3, now(), now(), $4)",
        uuid4(),
        email_id,
        profile,
        outcome,
    )


async def waits(crm: Crm, email_id: UUID) -> tuple[str | None, str | None, datetime | None]:
    """Return for what it waits, why, and until when."""
    row = await progress(crm, email_id)
    return row["waits_for"], row["waits_because"], row["next_try_at"]


async def test_an_email_that_waits_for_nothing_but_its_turn(crm: Crm, pending: UUID) -> None:
    row = await progress(crm, pending)
    assert (row["status"], row["recipients"], row["attempts"]) == ("pending_send", 3, 0)
    assert [row[state] for state in ("accepted", "delayed", "deferred", "refused", "given_up", "unknown")] == [0] * 6
    assert await waits(crm, pending) == ("turn", "its turn comes", None)
    assert row["last_attempt_at"] is row["last_profile"] is row["last_outcome"] is None


async def test_each_reason_to_wait_is_told_in_words(crm: Crm, pending: UUID) -> None:
    await crm.admin.execute("UPDATE router.outbox SET next_at = $1, attempts = 1", LATER)
    await crm.admin.execute("UPDATE crm.email SET status_reason = '450 4.7.1 greylisted'")
    await attempted(crm, pending, "relay", "pending_send: 450 4.7.1 greylisted")
    assert await waits(crm, pending) == ("retry", "450 4.7.1 greylisted", LATER)
    row = await progress(crm, pending)
    assert (row["attempts"], row["last_profile"], row["last_outcome"]) == (
        1,
        "relay",
        "pending_send: 450 4.7.1 greylisted",
    )
    assert row["last_attempt_at"] is not None

    until = LATER + timedelta(minutes=5)
    await crm.admin.execute(
        "INSERT INTO router.relay (profile, fault, next_try_at) VALUES ('relay', 'connection refused', $1), "
        "('other', 'unheard of', now())",
        until,
    )
    assert await waits(crm, pending) == (
        "relay", "the relay of outgoing.relay cannot be used: connection refused", until
    )  # fmt: skip
    await crm.admin.execute("UPDATE router.outbox SET next_at = $1", until)
    await crm.sql.execute("UPDATE crm.email SET send_after = $1", until)
    assert await waits(crm, pending) == ("send_after", "it is to be sent later", until)
    await crm.admin.execute("UPDATE crm.owner SET approved = false")
    assert (await waits(crm, pending))[:2] == ("approval", "no admin has approved the mailbox of its owner")
    await crm.admin.execute("UPDATE router.installation SET sending = false, reason = 'maintenance'")
    assert (await waits(crm, pending))[:2] == ("admin", "an admin has to start sending: maintenance")
    await crm.move(pending, "canceled")
    assert await waits(crm, pending) == (None, None, None)


async def test_recipients_are_counted_by_state(crm: Crm, pending: UUID) -> None:
    states = {"accepted": 3, "delayed": 1, "deferred": 2, "refused": 1, "given_up": 1, "unknown": 2}
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state) "
        "SELECT $1, s.key || n, s.key FROM jsonb_each_text($2::jsonb) AS s, generate_series(1, s.value::int) AS n",
        pending,
        json.dumps(states),
    )
    row = await progress(crm, pending)
    assert {state: row[state] for state in states} == states


async def test_a_batch_is_counted_by_status(crm: Crm, pending: UUID) -> None:
    drafts = [await crm.draft(ULLA, KARL) for _ in range(3)]
    await crm.sql.execute("UPDATE crm.email SET batch = 'Prices' WHERE id = ANY($1::uuid[])", [pending, *drafts[1:]])
    await crm.move(drafts[1], "canceled")
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, 'a', 'accepted'), ($1, 'b', 'refused')",
        pending,
    )
    [row] = await crm.rows("SELECT * FROM crm.batch_progress WHERE batch = 'Prices'")
    counted = {name: row[name] for name in ("emails", "draft", "pending_send", "canceled", "sent", "done")}
    assert counted == {"emails": 3, "draft": 1, "pending_send": 1, "canceled": 1, "sent": 0, "done": False}
    assert (row["recipients_accepted"], row["recipients_refused"]) == (1, 1)
    for email_id in (pending, drafts[2]):
        await crm.move(email_id, "canceled")
    [row] = await crm.rows("SELECT done FROM crm.batch_progress WHERE batch = 'Prices'")
    assert row["done"]
    assert len(await crm.rows("SELECT FROM crm.email_progress WHERE batch = 'Prices'")) == 3


async def test_the_crm_sees_nothing_else_of_the_routers(crm: Crm) -> None:
    for statement in (
        "SELECT router.why_nothing_is_sent()",
        "SELECT * FROM router.attempt",
        "SELECT * FROM router.relay",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await crm.sql.execute(statement)
    for statement in ("DELETE FROM crm.email_progress", "UPDATE crm.batch_progress SET batch = ''"):
        with pytest.raises(asyncpg.PostgresError):
            await crm.sql.execute(statement)


@pytest.mark.parametrize(
    ("query", "argument"),
    [
        ("SELECT * FROM crm.email_progress WHERE email_id = $1", "id"),
        ("SELECT * FROM crm.email_progress WHERE email_id = ANY (ARRAY[$1::uuid])", "id"),
        ("SELECT * FROM crm.email_progress WHERE batch = $1", "batch"),
        ("SELECT * FROM crm.batch_progress WHERE batch = $1", "batch"),
        ("SELECT crm.thread_id($1::uuid)", "id"),
        ("SELECT id FROM crm.thread($1)", "id"),
    ],
)
async def test_no_table_is_read_for_one_email_or_one_batch(crm: Crm, pending: UUID, query: str, argument: str) -> None:
    await crm.admin.execute(
        """
        INSERT INTO crm.email (direction, status, batch, correlated_id)
            SELECT 'out', 'draft', (n / 10)::text, gen_random_uuid() FROM generate_series(1, 20000) AS n;
        INSERT INTO crm.party (email_id, role, address) SELECT id, 'to', 'karl@kunde.test' FROM crm.email;
        INSERT INTO crm.delivery (email_id, address, state) SELECT id, 'karl@kunde.test', 'accepted' FROM crm.email;
        INSERT INTO router.attempt (id, email_id, number, process_id) SELECT id, id, 1, id FROM crm.email;
        INSERT INTO crm.owner (record_id) SELECT gen_random_uuid() FROM generate_series(1, 10000);
        INSERT INTO router.outbox (email_id, owner_id)
            SELECT id, id FROM crm.email ON CONFLICT DO NOTHING;
        ANALYZE crm.email, crm.party, crm.delivery, crm.owner, router.attempt, router.outbox;
        """
    )
    async with crm.admin.transaction():
        rows = await crm.admin.fetch(query, pending if argument == "id" else "1")
        read = await crm.admin.fetchval(
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables "
            "WHERE schemaname IN ('crm', 'router')"
        )
    assert rows
    assert 0 < read < 200


# --- Threads ---------------------------------------------------------------------------------------------------------


async def test_all_emails_of_a_thread_have_one_id(crm: Crm) -> None:
    await crm.owner(ULLA)
    first = await crm.draft(ULLA, KARL)
    left = await crm.draft(ULLA, KARL, correlated_id=first)
    right = await crm.draft(ULLA, KARL, correlated_id=first)
    last = await crm.draft(ULLA, KARL, correlated_id=left)
    alone = await crm.draft(ULLA, KARL)
    ids = {
        row["id"]: row["thread_id"]
        for row in await crm.rows("SELECT id, crm.thread_id(id) AS thread_id FROM crm.email")
    }
    assert ids == {first: first, left: first, right: first, last: first, alone: alone}
    for email_id in (first, right, last):
        assert {row["id"] for row in await crm.rows("SELECT id FROM crm.thread($1)", email_id)} == {
            first,
            left,
            right,
            last,
        }

    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", first)
    for email_id in (left, right, last):
        assert await crm.sql.fetchval("SELECT crm.thread_id($1)", email_id) == first
        assert {row["id"] for row in await crm.rows("SELECT id FROM crm.thread($1)", email_id)} == {left, right, last}


async def test_emails_that_answer_each_other_are_a_thread_too(crm: Crm) -> None:
    await crm.owner(ULLA)
    one = await crm.draft(ULLA, KARL)
    two = await crm.draft(ULLA, KARL, correlated_id=one)
    await crm.sql.execute("UPDATE crm.email SET correlated_id = $2 WHERE id = $1", one, two)
    ids = {row["id"] for row in await crm.rows("SELECT crm.thread_id(id) AS id FROM crm.email")}
    assert ids == {min(one, two)}
    assert {row["id"] for row in await crm.rows("SELECT id FROM crm.thread($1)", two)} == {one, two}


async def test_no_email_has_no_thread(crm: Crm) -> None:
    assert await crm.sql.fetchval("SELECT crm.thread_id($1)", uuid4()) is None
    assert await crm.rows("SELECT FROM crm.thread($1)", uuid4()) == []
