"""A trigger of the CRM's that refuses what became of some email: it stops nothing else, and nothing known is lost."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from router.errors import DatabaseError
from router.model import Result
from router.repository import database as database_module
from router.repository import processes
from router.repository.database import Database
from router.repository.halves import by_halves
from router.repository.outgoing import outbox, recovery
from tests.support.claims import claim_some
from tests.support.crm import Crm
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import relay, sending
from transports.base import Outcome

ULLA = "ulla@example.com"
KEPT = "SELECT count(*) FROM router.unrecorded"
FAULT = "SELECT faults -> 'outcomes' ->> 'fault' FROM router.process WHERE faults ? 'outcomes'"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        await processes.beat(opened, UUID(int=1))
        yield opened


async def refuse(crm: Crm, status: str, sqlstate: str = "P0001") -> None:
    """Let the CRM refuse that any email whose subject is bad gets this status."""
    await crm.admin.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'not this one' USING ERRCODE = '{sqlstate}';
        END
        $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON crm.email FOR EACH ROW
            WHEN (NEW.status = '{status}' AND NEW.subject = 'bad') EXECUTE FUNCTION refuse();
        """
    )


async def keep_from(crm: Crm, status: str) -> None:
    """Let a trigger of the CRM's pass over that any email whose subject is bad gets this status, without a word."""
    await crm.admin.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON crm.email FOR EACH ROW
            WHEN (NEW.status = '{status}' AND NEW.subject = 'bad') EXECUTE FUNCTION refuse();
        """
    )


async def allow(crm: Crm) -> None:
    await crm.admin.execute("DROP TRIGGER refuse ON crm.email")


async def status(crm: Crm, email_id: UUID) -> Any:
    return (await crm.email(email_id))["status"]


@pytest.mark.parametrize("sqlstate", ["P0001", "23514"])
async def test_o5_outcomes_that_are_refused_hold_no_slot_and_are_recorded_once_they_may_be(
    crm: Crm, database: str, sqlstate: str
) -> None:
    await crm.owner(ULLA)
    await refuse(crm, "sent", sqlstate)
    async with ScriptedSmtp() as server, sending(database, relay(server.port, connections=4)):
        bad = [await crm.send(ULLA, f"bad{number}@kunde.test", "bad") for number in range(4)]
        await crm.wait_for(4, "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL")
        good = [await crm.send(ULLA, f"good{number}@kunde.test", "good") for number in range(4)]
        for email_id in good:
            await crm.wait_for_status(email_id, "sent")
        await crm.wait_for(4, KEPT)
        words = f"the database refuses to record what became of email: not this one (SQLSTATE {sqlstate})"
        await crm.wait_for(words, FAULT)
        assert [await status(crm, email_id) for email_id in bad] == ["sending"] * 4

        await allow(crm)
        for email_id in bad:
            await crm.wait_for_status(email_id, "sent")
        await crm.wait_for(0, KEPT)
        await crm.wait_for(None, FAULT)
        assert len(server.messages) == 8
    states = await crm.rows("SELECT state FROM crm.delivery")
    assert [row["state"] for row in states] == ["accepted"] * 8


async def test_o5_what_is_kept_outlives_the_process_and_is_not_taken_for_unknown(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    await refuse(crm, "sent")
    words = "550 5.1.1 nobody lives here\x00 any more"
    async with ScriptedSmtp({"RCPT TO:<bob@": words}) as server:
        async with sending(database, relay(server.port)):
            email_id = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "bad")
            await crm.wait_for(1, KEPT)
        await crm.admin.execute("DELETE FROM router.process")
        async with Database(database) as pool:
            assert await recovery.recover(pool, UUID(int=2), timedelta(0)) == 0
        async with sending(database, relay(server.port)):
            await crm.wait_for(True, f"SELECT EXISTS ({FAULT})")
            assert await status(crm, email_id) == "sending"
            await allow(crm)
            await crm.wait_for_status(email_id, "sent")
        assert len(server.messages) == 1
    rows = await crm.rows("SELECT address, state FROM crm.delivery ORDER BY address")
    assert [tuple(row) for row in rows] == [("ann@kunde.test", "accepted"), ("bob@kunde.test", "refused")]


async def test_o4_o5_what_cannot_be_taken_over_keeps_nothing_else_from_it(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    subjects = ["good", "bad", "good", "good", "bad", "good"]
    emails = [await crm.send(ULLA, f"ann{number}@kunde.test", subject) for number, subject in enumerate(subjects)]
    async with Database(database) as pool:
        await processes.beat(pool, UUID(int=1))
        await claim_some(pool, UUID(int=1), len(emails))
        await refuse(crm, "pending_send")
        assert await recovery.recover(pool, UUID(int=2), timedelta(0)) == 4
        wanted = ["sending" if subject == "bad" else "pending_send" for subject in subjects]
        assert [await status(crm, email_id) for email_id in emails] == wanted
        await allow(crm)
        assert await recovery.recover(pool, UUID(int=2), timedelta(0)) == 2


async def test_a_claim_that_cannot_be_given_back_holds_no_slot(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    await refuse(crm, "pending_send")
    await crm.admin.execute("ALTER TABLE crm.email DISABLE TRIGGER refuse")
    async with ScriptedSmtp({"greeting": ["421 4.3.2 closed for lunch", "220 relay.test"]}) as server:
        bad = await crm.send(ULLA, "ann@kunde.test", "bad")
        await crm.admin.execute("ALTER TABLE crm.email ENABLE TRIGGER refuse")
        async with sending(database, relay(server.port, connections=1)):
            await crm.wait_for_status(bad, "sending")
            good = await crm.send(ULLA, "ann@kunde.test", "good")
            await crm.wait_for_status(good, "sent")
            assert await status(crm, bad) == "sending"
            await allow(crm)
            await crm.wait_for_status(bad, "sent")
        assert len(server.messages) == 2


async def test_o5_an_outcome_that_a_trigger_passes_over_is_kept_and_recorded_once_it_may_be(
    crm: Crm, database: str
) -> None:
    await crm.owner(ULLA)
    await keep_from(crm, "sent")
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        bad = await crm.send(ULLA, "ann@kunde.test", "bad")
        await crm.wait_for(1, KEPT)
        await crm.wait_for(True, f"SELECT EXISTS ({FAULT})")
        await allow(crm)
        await crm.wait_for_status(bad, "sent")
        assert len(server.messages) == 1


@pytest.mark.parametrize("sqlstate", ["P0001", "23514", "57014", "08006", None])
async def test_an_email_that_must_not_be_sending_keeps_no_other_from_it(
    crm: Crm, database: str, sqlstate: str | None
) -> None:
    await crm.owner(ULLA)
    await (refuse(crm, "sending", sqlstate) if sqlstate else keep_from(crm, "sending"))
    bad = [await crm.send(ULLA, f"bad{number}@kunde.test", "bad") for number in range(3)]
    good = [await crm.send(ULLA, f"good{number}@kunde.test", "good") for number in range(3)]
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        for email_id in good:
            await crm.wait_for_status(email_id, "sent")
        assert [await status(crm, email_id) for email_id in bad] == ["pending_send"] * 3
        told = "SELECT faults -> 'sending' ->> 'fault' LIKE 'the database refuses that some email is sent: %'"
        await crm.wait_for(True, f"{told} FROM router.process")
        await allow(crm)
        await crm.admin.execute("UPDATE router.outbox SET next_at = now()")  # as it is after a minute
        for email_id in bad:
            await crm.wait_for_status(email_id, "sent")
        assert len(server.messages) == 6


async def test_outcomes_that_the_crm_has_locked_are_hardly_waited_for(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waited as long as others do would not come back.
    monkeypatch.setattr(database_module, "_LOCKED_FOR", 3600.0)
    async with Database(database) as pool:
        await processes.beat(pool, UUID(int=1))
        await _locked_outcomes(crm, pool)


async def _locked_outcomes(crm: Crm, pool: Database) -> None:
    await crm.owner(ULLA)
    emails = [await crm.send(ULLA, f"ann{number}@kunde.test") for number in range(8)]
    results = [
        Result(email.id, email.attempt_id, "sent", None, (Outcome(email.recipients[0], "accepted", "", ""),))
        for email in await claim_some(pool, UUID(int=1), len(emails))
    ]
    async with crm.sql.transaction():
        await crm.sql.execute("SELECT FROM crm.email WHERE id = ANY($1) FOR UPDATE", emails[1:])
        errors = await by_halves(results, partial(outbox.record, pool))
        for result in results:
            with suppress(DatabaseError):
                await outbox.give_back(pool, [result.attempt_id])
    assert sum(error is None for error in errors) == 1
    assert [await status(crm, email_id) for email_id in emails] == ["sent"] + ["sending"] * 7


async def test_a_trigger_that_takes_long_to_let_email_be_sent_delays_no_other_relay(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    await crm.owner("berta@example.org")
    await crm.admin.execute(
        """
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 77) LOOP
                PERFORM pg_sleep(0.02);
            END LOOP;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER wait BEFORE UPDATE ON crm.email FOR EACH ROW
            WHEN (NEW.status = 'sent' AND NEW.subject = 'bad') EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(77);
        """
    )
    async with (
        ScriptedSmtp() as server,
        ScriptedSmtp() as other,
        sending(database, relay(server.port, "one"), relay(other.port, "other", "*@example.org")),
    ):
        bad = await crm.send(ULLA, "ann@kunde.test", "bad")
        await crm.wait_for(
            True,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()",
        )
        good = await crm.send("berta@example.org", "ann@kunde.test", "good")
        await crm.wait_for_status(good, "sent")
        assert await status(crm, bad) == "sending"
        await crm.admin.execute("SELECT pg_advisory_unlock(77)")
        await crm.wait_for_status(bad, "sent")


async def test_a_trigger_that_takes_long_to_let_a_recipient_be_told_of_delays_no_other_email_for_long(
    crm: Crm, database: str
) -> None:
    """Its email is set aside, so that it holds no slot; it is recorded once the trigger lets it be."""
    await crm.owner(ULLA)
    await crm.admin.execute(
        """
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 77) LOOP
                PERFORM pg_sleep(0.02);
            END LOOP;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER wait BEFORE INSERT ON crm.delivery FOR EACH ROW
            WHEN (NEW.address = 'bad@kunde.test') EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(77);
        """
    )
    async with ScriptedSmtp() as server, sending(database, relay(server.port, connections=2)):
        bad = await crm.send(ULLA, "bad@kunde.test", "bad")
        await crm.wait_for(
            True,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()",
        )
        good = [await crm.send(ULLA, "ann@kunde.test", "good") for _ in range(4)]
        for email_id in good:
            await crm.wait_for_status(email_id, "sent", timeout=10)
        assert await status(crm, bad) == "sending"
        await crm.wait_for(1, "SELECT count(*) FROM router.unrecorded")
        await crm.admin.execute("SELECT pg_advisory_unlock(77)")
        await crm.wait_for_status(bad, "sent")
        await crm.wait_for(0, "SELECT count(*) FROM router.unrecorded")
    assert len(server.messages) == 5
