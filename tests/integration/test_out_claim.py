"""Each relay claims for itself: what hangs, is wrong, locked, or for later delays itself, and nothing else."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from router.model import Message, Outgoing, Result, message_id_hash
from router.repository import processes
from router.repository.database import Database
from router.repository.outgoing import claim, outbox, outgoing, routes
from router.repository.outgoing.claim import NOBODY, Claim
from tests.support.claims import ask, carry
from tests.support.crm import Crm
from tests.support.flood import cost, crowd, flood, visited
from tests.support.holds import CLAIMING, holding
from tests.support.scripted_smtp import SILENCE, ScriptedSmtp
from tests.support.sending import profiles, relay, sending
from tests.support.traffic import queue, statuses
from transports.base import Outcome

ULLA, OTTO = "ulla@example.com", "otto@other.test"
PROCESS = UUID(int=1)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        await processes.beat(opened, PROCESS)
        yield opened


async def claimed(pool: Database, count: int, **more: Any) -> list[UUID]:
    turn = await claim.claim(pool, PROCESS, ask(count, **more))
    return [one.email_id for one in turn.claims]


def mailbox_of(one: Claim) -> str:
    assert isinstance(one.email, Outgoing)
    return one.email.mailbox


# --- O1: a relay that hangs ------------------------------------------------------------------------------------------


async def test_o1_a_relay_that_hangs_stops_no_other_and_nothing_is_claimed_that_it_cannot_start(
    crm: Crm, database: str
) -> None:
    for mailbox in (ULLA, OTTO):
        await crm.owner(mailbox)
    async with ScriptedSmtp({".": SILENCE}) as silent, ScriptedSmtp() as good:
        hangs, works = relay(silent.port, "silent", connections=4), relay(good.port, "good", "*@other.test")
        async with sending(database, hangs, works, grace=0.1):
            await queue(crm, 60, [ULLA])
            await crm.wait_for(4, "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL")
            for number in range(5):
                await crm.wait_for_status(await crm.send(OTTO, "ann@kunde.test", str(number)), "sent", timeout=5)
            assert await statuses(crm) == {"sending": 4, "pending_send": 56, "sent": 5}
            # What is pending can be canceled.
            await crm.sql.execute("UPDATE crm.email SET status = 'canceled' WHERE status = 'pending_send'")


# --- O2: a row that is wrong -----------------------------------------------------------------------------------------


async def _before_it_was_refused(crm: Crm) -> None:
    """Let the schema take what an earlier one took: what was stored then is still there."""
    arguments = "timestamptz, timestamptz, timestamptz, timestamptz, text, text, smallint, jsonb, text, text"
    await crm.admin.execute(
        f"""
        ALTER TABLE crm.email DROP CONSTRAINT email_fits;
        DROP FUNCTION crm.wrong_email;
        CREATE FUNCTION crm.wrong_email({arguments}) RETURNS text[] LANGUAGE sql IMMUTABLE AS 'SELECT NULL::text[]';
        """
    )


@pytest.mark.parametrize("dated_at", ["-infinity", "infinity", "0044-03-15 BC", "20000-01-01"])
async def test_o2_an_email_with_an_odd_date_fails_alone(crm: Crm, database: str, dated_at: str) -> None:
    await crm.owner(ULLA)
    await _before_it_was_refused(crm)
    bad = await crm.draft(ULLA, "ann@kunde.test", "bad")
    await crm.admin.execute(f"UPDATE crm.email SET dated_at = '{dated_at}' WHERE id = $1", bad)
    await crm.move(bad, "pending_send")
    await queue(crm, 20, [ULLA])
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        await crm.wait_for(20, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
        reason = "SELECT status_reason FROM crm.email WHERE id = $1 AND status = 'failed'"
        await crm.wait_for("it cannot be read: its dated_at is no date that a header can have", reason, bad)


@pytest.mark.parametrize("send_after", ["0044-03-15 BC", "-infinity"])
async def test_o2_an_odd_time_to_send_after_is_in_the_past(crm: Crm, database: str, send_after: str) -> None:
    await crm.owner(ULLA)
    await _before_it_was_refused(crm)
    odd = await crm.draft(ULLA, "ann@kunde.test", "odd")
    await crm.sql.execute(f"UPDATE crm.email SET send_after = '{send_after}' WHERE id = $1", odd)
    await crm.move(odd, "pending_send")
    await queue(crm, 5, [ULLA])
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        await crm.wait_for(6, "SELECT count(*) FROM crm.email WHERE status = 'sent'")


async def test_o2_an_email_that_the_crm_does_not_let_be_claimed_is_put_off_alone(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    await crm.admin.execute(
        """
        CREATE FUNCTION crm.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.status = 'sending' AND NEW.subject = 'number 7' THEN
                RAISE EXCEPTION 'not this one';
            END IF;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON crm.email FOR EACH ROW EXECUTE FUNCTION crm.refuse();
        """
    )
    await queue(crm, 40, [ULLA])
    async with ScriptedSmtp() as server, sending(database, relay(server.port, connections=8)):
        await crm.wait_for(39, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
        waits = "SELECT next_at > now() + interval '50 s' FROM router.outbox WHERE NOT ready"
        await crm.wait_for(True, waits)
        await crm.admin.execute("DROP TRIGGER refuse ON crm.email")
        await crm.admin.execute("UPDATE router.outbox SET next_at = now()")
        await crm.wait_for(40, "SELECT count(*) FROM crm.email WHERE status = 'sent'")


# --- O3: what is not to be sent now ----------------------------------------------------------------------------------


async def test_o3_a_claim_costs_the_same_whatever_waits_for_later_or_for_nobody(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    await queue(crm, 4, [ULLA])
    alone = (await visited(pool, PROCESS, ask(4))).rows
    later, idle = await crowd(crm, 1000, approved=True), await crowd(crm, 10_000, approved=False)
    await carry(pool)
    await flood(crm, later, 5, "now() + interval '1 day'")
    await flood(crm, idle, 1, "now()", None)
    crowded = (await visited(pool, PROCESS, ask(4))).rows
    assert crowded.total() <= alone.total() * 1.2
    assert not any(scan.startswith("Seq Scan") and "crm" not in scan for scan in crowded if crowded[scan] > 20)
    assert len(await claimed(pool, 4)) == 4
    # Of many who have something ready as many are looked at as there are connections.
    await flood(crm, later, 20, "now()")
    busy = (await visited(pool, PROCESS, ask(4))).rows
    assert busy.total() <= alone.total() * 2


async def test_a_claim_and_its_record_cost_the_same_where_the_planner_thinks_that_nothing_is_queued(
    crm: Crm, pool: Database
) -> None:
    """Statistics are those of a quiet hour, as after VACUUM ANALYZE of an outbox that was just sent."""
    await crm.owner(ULLA)
    await carry(pool)
    await queue(crm, 1000, [ULLA])
    await crm.admin.execute("DELETE FROM router.outbox; ANALYZE router.outbox; ANALYZE crm.email")
    await queue(crm, 1000, [ULLA])
    found = (await visited(pool, PROCESS, ask(8))).rows
    assert sum(rows for scan, rows in found.items() if "outbox" in scan or "attempt" in scan) < 100
    turn = await claim.claim(pool, PROCESS, ask(8, start=8))
    assert len(turn.claims) == 8
    taken = (Outcome("ann@kunde.test", "accepted", "2.0.0", "taken"),)
    results = [Result(one.email_id, one.attempt_id, "sent", None, taken) for one in turn.claims]
    async with pool.rolled_back() as connection:
        found = (await cost(connection, outbox._RECORD, *outbox._arguments(results))).rows
    assert sum(rows for scan, rows in found.items() if "outbox" in scan or "attempt" in scan) < 100


# --- Fair ------------------------------------------------------------------------------------------------------------


async def test_whoever_has_one_email_does_not_wait_for_whoever_has_many(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    await queue(crm, 500, [ULLA])
    await crm.owner("bob@example.com")
    await carry(pool)
    after = (NOBODY, NOBODY)
    turn = await claim.claim(pool, PROCESS, ask(4, after=after))
    assert len(turn.claims) == 4
    bobs = await crm.send("bob@example.com", "ann@kunde.test", "one")
    turn = await claim.claim(pool, PROCESS, ask(4, after=turn.after))
    assert bobs in [one.email_id for one in turn.claims]
    assert len(turn.claims) == 3  # so much is one owner's share
    # With a single connection each has a turn, too.
    await crm.send("bob@example.com", "ann@kunde.test", "two")
    mailboxes: list[str] = []
    for _ in range(2):
        turn = await claim.claim(pool, PROCESS, ask(1, after=turn.after))
        mailboxes += map(mailbox_of, turn.claims)
    assert sorted(mailboxes) == ["bob@example.com", ULLA]


async def test_an_owner_whose_approval_was_just_taken_back_is_passed_over(crm: Crm, pool: Database) -> None:
    for mailbox in (ULLA, "bob@example.com"):
        await crm.owner(mailbox)
    await carry(pool)
    await queue(crm, 20, [ULLA, "bob@example.com"])
    await crm.admin.execute("UPDATE crm.owner SET approved = false WHERE mailbox = $1", ULLA)
    mailboxes: Counter[str] = Counter()
    after = (NOBODY, NOBODY)
    for _ in range(25):
        turn = await claim.claim(pool, PROCESS, ask(1, after=after))
        after = turn.after
        assert turn.claims or turn.again
        mailboxes.update(map(mailbox_of, turn.claims))
        if mailboxes.total() == 10:
            break
    assert mailboxes == {"bob@example.com": 10}


async def test_priority_goes_first_and_then_what_was_due_first(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    emails = [await crm.send(ULLA, "ann@kunde.test", str(number)) for number in range(5)]
    await crm.sql.execute("UPDATE crm.email SET priority = 10 WHERE id = $1", emails[3])
    await crm.sql.execute("UPDATE crm.email SET priority = -10 WHERE id = $1", emails[0])
    order = [email_id for _ in emails for email_id in await claimed(pool, 1)]
    assert order == [emails[3], emails[1], emails[2], emails[4], emails[0]]


async def test_bulk_leaves_connections_for_what_is_normal(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    await queue(crm, 20, [ULLA])
    await crm.sql.execute("UPDATE crm.email SET lane = 'bulk'")
    normal = await crm.send(ULLA, "ann@kunde.test", "normal")
    turn = await claim.claim(pool, PROCESS, ask(8, bulk=6))
    assert turn.claims[0].email_id == normal
    assert [one.lane for one in turn.claims] == ["normal"] + ["bulk"] * 6
    assert await claimed(pool, 4, bulk=0) == []


async def test_bulk_that_fills_its_connections_delays_nothing_normal(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp({".": [*[SILENCE] * 3, "250 2.0.0 Queued"]}) as server:
        await queue(crm, 9, [ULLA])
        await crm.sql.execute("UPDATE crm.email SET lane = 'bulk'")
        async with sending(database, relay(server.port, connections=4), grace=0.1):
            await crm.wait_for(3, "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL")
            normal = await crm.send(ULLA, "ann@kunde.test", "normal")
            await crm.wait_for_status(normal, "sent", timeout=5)
            assert await crm.admin.fetchval("SELECT count(*) FROM router.attempt") == 4
            await crm.sql.execute("UPDATE crm.email SET status = 'canceled' WHERE status = 'pending_send'")


# --- O9: what changes while it is pending ----------------------------------------------------------------------------


async def test_o9_when_to_send_may_change_both_ways_until_it_is_claimed(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    email_id = await crm.send(ULLA, "ann@kunde.test", "one")

    async def after(sql: str) -> None:
        await crm.sql.execute(f"UPDATE crm.email SET send_after = {sql} WHERE id = $1", email_id)

    await after("now() + interval '1 hour'")
    assert await claimed(pool, 1) == []
    await after("NULL")
    assert await claimed(pool, 1) == [email_id]
    # Claimed, it is too late.
    await after("now() + interval '1 hour'")
    assert (await crm.email(email_id))["status"] == "sending"


async def test_o9_what_is_to_go_now_goes_now(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        email_id = await crm.draft(ULLA, "ann@kunde.test", "one")
        await crm.sql.execute("UPDATE crm.email SET send_after = now() + interval '1 hour' WHERE id = $1", email_id)
        await crm.move(email_id, "pending_send")
        await crm.sql.execute("UPDATE crm.email SET send_after = now() WHERE id = $1", email_id)
        await crm.wait_for_status(email_id, "sent", timeout=5)


# --- O19: nobody is waited for ---------------------------------------------------------------------------------------


async def test_o19_a_claim_waits_neither_for_who_has_the_email_nor_for_who_has_its_message_id(
    crm: Crm, pool: Database
) -> None:
    """Who promotes an answer has locked the Message-ID, and may wait for the email: so a claim must not wait for it."""
    await crm.owner(ULLA)
    await carry(pool)
    one, two = [await crm.send(ULLA, "ann@kunde.test", str(number)) for number in range(2)]
    await crm.admin.execute("UPDATE crm.email SET message_id = 'one@example.com' WHERE id = $1", one)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    async with asyncio.timeout(20):
        async with pool.transaction() as promoting:
            hashed = message_id_hash("one@example.com")
            await promoting.execute("INSERT INTO router.message_id (hash) VALUES ($1)", hashed)
            turn = await claim.claim(pool, PROCESS, ask(2))
            assert {claimed.email_id for claimed in turn.claims} == {one, two}
            # It is made known before it starts, by a transaction that has locked nothing.
            [late] = [claim.email for claim in turn.claims if not claim.known]
            assert not isinstance(late, Exception)
            knowing = asyncio.create_task(outgoing.make_known(pool, late))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%message_id%'"
            await crm.wait_for(1, waits)
            await promoting.execute("UPDATE crm.email SET regarding_id = NULL WHERE id = $1", one)
        await knowing
    assert await crm.admin.fetchval("SELECT email_id FROM router.message_id WHERE hash = $1", hashed) == one
    assert await crm.admin.fetchval(deadlocks) == 0


async def test_a_claim_passes_over_what_others_have_locked(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    one, two = [await crm.send(ULLA, "ann@kunde.test", str(number)) for number in range(2)]
    async with asyncio.timeout(20), crm.admin.transaction():
        await crm.admin.execute("SELECT FROM crm.email WHERE id = $1 FOR UPDATE", one)
        assert await claimed(pool, 2) == [two]


async def test_claims_of_several_processes_do_not_meet(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with Database(database, 8) as pool:
        await carry(pool)
        await queue(crm, 200, [ULLA])
        found: list[UUID] = []
        while len(found) < 200:
            turns = await asyncio.gather(*(claim.claim(pool, uuid4(), ask(8)) for _ in range(6)))
            found += [one.email_id for turn in turns for one in turn.claims]
        assert len(set(found)) == 200


async def test_postgresql_makes_the_same_keys(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    await queue(crm, 3, [ULLA])
    turn = await claim.claim(pool, PROCESS, ask(3))
    assert all(one.known for one in turn.claims)
    for row in await crm.rows("SELECT id, message_id, dated_at FROM crm.email"):
        key = Message(message_id=row["message_id"], date=row["dated_at"]).key
        assert await crm.admin.fetchval("SELECT email_id FROM router.message WHERE key = $1", key) == row["id"]
        hashed = message_id_hash(row["message_id"])
        assert await crm.admin.fetchval("SELECT email_id FROM router.message_id WHERE hash = $1", hashed) == row["id"]
        assert row["message_id"] == f"{row['id']}@example.com"


# --- A5: who carries what --------------------------------------------------------------------------------------------


async def test_a5_an_email_says_why_it_waits_and_goes_when_that_is_over(crm: Crm, database: str) -> None:
    reason = "SELECT status_reason FROM crm.email WHERE id = $1 AND status = 'pending_send'"
    owner_id = await crm.owner(ULLA, approved=False)
    before = await crm.send(ULLA, "ann@kunde.test", "before any router runs")
    async with ScriptedSmtp() as server, sending(database, relay(server.port)) as sender:
        await crm.wait_for(f"the mailbox {ULLA} is not approved yet", reason, before)
        email_id = await crm.send(ULLA, "ann@kunde.test", "one")
        assert (await crm.email(email_id))["status_reason"] == f"the mailbox {ULLA} is not approved yet"
        sender.update(profiles(relay(server.port, sender="*@other.test")))
        await crm.admin.execute("UPDATE crm.owner SET approved = true WHERE record_id = $1", owner_id)
        for each in (before, email_id):
            await crm.wait_for(f"no outgoing profile has {ULLA} among its senders", reason, each)
        sender.update(profiles(relay(server.port)))
        for each in (before, email_id):
            assert (await crm.wait_for_status(each, "sent"))["status_reason"] is None


async def test_a_route_to_a_profile_that_another_process_has_is_left_to_it(crm: Crm, pool: Database) -> None:
    owner_id = await crm.owner(ULLA)
    lease = timedelta(seconds=5)
    await carry(pool, "theirs")
    ours = [routes.Route(owner_id, None, "no outgoing profile has it", "example.com")]
    profile = "SELECT profile FROM router.route"
    await crm.admin.execute(
        "INSERT INTO router.process (id, host, pid, profiles) VALUES ($1, 'there', 1, $2)",
        UUID(int=9),
        json.dumps([{"direction": "outgoing", "name": "theirs"}]),
    )
    await routes.write(pool, PROCESS, lease, ours, [])
    assert await crm.admin.fetchval(profile) == "theirs"
    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 hour' WHERE id = $1", UUID(int=9))
    await routes.write(pool, PROCESS, lease, ours, [])
    assert await crm.admin.fetchval(profile) is None


async def test_what_was_queued_while_its_route_changed_is_found(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    await carry(pool)
    email_id = await crm.send(ULLA, "ann@kunde.test", "one")
    await crm.admin.execute("UPDATE router.outbox SET profile = NULL, ready = false")
    assert await claimed(pool, 1) == []
    await routes.find_strays(pool)
    while await routes.align(pool):
        pass
    assert await claimed(pool, 1) == [email_id]


async def test_an_email_that_refuses_to_be_told_why_it_waits_keeps_nobody_from_being_sent(
    crm: Crm, pool: Database
) -> None:
    owner_id = await crm.owner(ULLA)
    await carry(pool)
    await crm.send(ULLA, "ann@kunde.test", "of the former mailbox")  # its from party is refused from now on
    await crm.admin.execute("UPDATE crm.owner SET mailbox = $2 WHERE record_id = $1", owner_id, OTTO)
    await carry(pool)
    await crm.owner("bob@example.com")
    email_id = await crm.send("bob@example.com", "ann@kunde.test", "one")
    await carry(pool)
    assert await claimed(pool, 2) == [email_id]
    assert await crm.admin.fetchval("SELECT count(*) FROM router.route WHERE NOT aligned") == 0


async def test_what_is_being_claimed_while_the_process_stops_is_given_back(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as server, holding(crm, CLAIMING) as hold:
        async with sending(database, relay(server.port)) as sender:
            email_id = await crm.send(ULLA, "karl@kunde.test")
            await hold.reached()

            async def release() -> None:
                while not sender._attempts.stopping:
                    await asyncio.sleep(0.01)
                await hold.release()

            released = asyncio.create_task(release())
        await released
        assert (await crm.email(email_id))["status"] == "pending_send"
        assert not server.messages
