"""What is tried again, when and how often; and what is kept of each try."""

import json
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from router.model import RecipientReport, Report
from router.repository import processes
from router.repository.bounces import reports
from router.repository.database import Database
from router.repository.outgoing import outbox, recovery
from router.repository.outgoing.outbox import Start
from tests.support.claims import claim_some
from tests.support.crm import Crm
from tests.support.scripted_smtp import CLOSE, SILENCE, ScriptedSmtp
from tests.support.sending import relay, sending

ULLA = "ulla@example.com"
PROCESS = UUID(int=1)
WAITS = "SELECT count(*) FROM router.outbox WHERE process_id IS NULL AND NOT ready AND attempts > 0"
SOON = "UPDATE router.outbox SET next_at = now() WHERE process_id IS NULL"


async def states(crm: Crm) -> dict[str, str]:
    rows = await crm.rows("SELECT address, state FROM crm.delivery")
    return {row["address"]: row["state"] for row in rows}


# --- O8: unknown -----------------------------------------------------------------------------------------------------


async def test_o8_what_is_lost_after_the_final_dot_is_sent_again_if_the_profile_says_so(
    crm: Crm, database: str
) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp({".": [CLOSE, "250 2.0.0 Queued"]}) as server:
        async with sending(database, relay(server.port, on_unknown="resend")):
            email_id = await crm.send(ULLA, "ann@kunde.test", "one")
            await crm.wait_for(1, WAITS)
            assert await states(crm) == {"ann@kunde.test": "unknown"}
            await crm.admin.execute(SOON)
            await crm.wait_for_status(email_id, "sent")
        assert await states(crm) == {"ann@kunde.test": "accepted"}
        assert len(server.messages) == 2


async def test_o8_it_is_sent_again_no_more_often_than_attempts_are_allowed(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp({".": CLOSE}) as server:
        async with sending(database, relay(server.port, on_unknown="resend", max_attempts=2)):
            email_id = await crm.send(ULLA, "ann@kunde.test", "one")
            await crm.wait_for(1, WAITS)
            await crm.admin.execute(SOON)
            await crm.wait_for_status(email_id, "unknown")
        assert len(server.messages) == 2


@pytest.mark.parametrize(("resend", "status"), [(True, "pending_send"), (False, "unknown")])
async def test_o8_recovery_keeps_to_the_same_bound(crm: Crm, database: str, resend: bool, status: str) -> None:
    """Whether it may be sent once more is said where it starts: by the profile, and by which attempt it is."""
    await crm.owner(ULLA)
    email_id = await crm.send(ULLA, "ann@kunde.test", "one")
    async with Database(database) as pool:
        await processes.beat(pool, PROCESS)
        [email] = await claim_some(pool, PROCESS, 1)
        await outbox.start(pool, PROCESS, [Start(email.attempt_id, "relay", resend)])
        assert await recovery.recover(pool, UUID(int=2), timedelta(0)) == 1
        assert (await crm.email(email_id))["status"] == status
        assert len(await claim_some(pool, PROCESS, 1)) == resend


async def test_o8_the_last_attempt_that_starts_is_not_resent(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with (
        ScriptedSmtp({".": CLOSE}) as server,
        sending(database, relay(server.port, on_unknown="resend", max_attempts=2)),
    ):
        await crm.send(ULLA, "ann@kunde.test", "one")
        await crm.wait_for(1, WAITS)
        await crm.admin.execute(SOON)
        await crm.wait_for(2, "SELECT count(*) FROM router.attempt WHERE finished_at IS NOT NULL")
    rows = await crm.admin.fetch("SELECT resend FROM router.attempt ORDER BY number")
    assert [row["resend"] for row in rows] == [True, False]


async def test_o8_nor_is_the_last_attempt_that_its_claim_starts(crm: Crm, database: str) -> None:
    """Over a connection that is open and free, the claim itself commits the start."""
    await crm.owner(ULLA)
    async with (
        ScriptedSmtp({".": [CLOSE, "250 2.0.0 Queued", CLOSE]}) as server,
        sending(database, relay(server.port, on_unknown="resend", max_attempts=2)),
    ):
        email_id = await crm.send(ULLA, "ann@kunde.test", "one")
        await crm.wait_for(1, WAITS)
        await crm.wait_for_status(await crm.send(ULLA, "ann@kunde.test", "two"), "sent")
        await crm.admin.execute(SOON)
        await crm.wait_for_status(email_id, "unknown")
        assert len(server.commands) == 2
    rows = await crm.admin.fetch("SELECT resend FROM router.attempt WHERE email_id = $1 ORDER BY number", email_id)
    assert [row["resend"] for row in rows] == [True, False]


async def test_o8_those_who_took_it_before_a_stop_do_not_get_it_again(crm: Crm, database: str) -> None:
    """With more recipients than a transaction takes, the first have it when the process is stopped in the second."""
    await crm.owner(ULLA)
    async with ScriptedSmtp({".": ["250 2.0.0 Queued", SILENCE, "250 2.0.0 Queued"]}) as server:
        profile = relay(server.port, on_unknown="resend", recipients=1)
        async with sending(database, profile, grace=0):
            email_id = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "one")
            await server.silent.wait()
        assert await states(crm) == {"ann@kunde.test": "accepted", "bob@kunde.test": "unknown"}
        await crm.admin.execute(SOON)
        async with sending(database, profile):
            await crm.wait_for_status(email_id, "sent")
        named = [line for lines in server.commands for line in lines if line.startswith("RCPT")]
    assert ["ann@" in line for line in named] == [True, False, False]


# --- O12, A18: giving up ---------------------------------------------------------------------------------------------


async def test_o12_a18_what_was_deferred_for_five_days_is_given_up_and_says_so(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    script = {"RCPT TO:<bob@": "450 4.2.2 mailbox full"}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "one")
        await crm.wait_for(1, WAITS)
        await crm.admin.execute("UPDATE router.outbox SET deferred_at = now() - interval '119 hours'")
        await crm.admin.execute(SOON)
        await crm.wait_for(2, "SELECT count(*) FROM router.attempt WHERE finished_at IS NOT NULL")
        await crm.wait_for(1, WAITS)
        assert await states(crm) == {"ann@kunde.test": "accepted", "bob@kunde.test": "deferred"}
        await crm.admin.execute("UPDATE router.outbox SET deferred_at = now() - interval '121 hours'")
        await crm.admin.execute(SOON)
        email = await crm.wait_for_status(email_id, "sent")
    assert await states(crm) == {"ann@kunde.test": "accepted", "bob@kunde.test": "given_up"}
    assert email["status_reason"] == "bob@kunde.test: 4.2.2 mailbox full"


async def test_what_the_relay_says_of_itself_counts_as_no_attempt(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    script = {"MAIL": ["451 4.7.0 slow down", "450 4.2.2 mailbox full", "250 2.1.0 Ok"]}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port, max_attempts=2)):
        email_id = await crm.send(ULLA, "ann@kunde.test", "one")
        for spent in (0, 1):
            await crm.wait_for(1, f"{WAITS} AND spent = {spent}")
            await crm.admin.execute(SOON)
        await crm.wait_for_status(email_id, "sent")


async def test_a_failed_email_says_that_nobody_got_it(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp({"RCPT": "550 5.1.1 nobody here"}) as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "one")
        email = await crm.wait_for_status(email_id, "failed")
    assert email["status_reason"] == "ann@kunde.test, bob@kunde.test: 5.1.1 nobody here"


async def test_a12_an_email_whose_every_recipient_bounced_says_so(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "one")
        await crm.wait_for_status(email_id, "sent")

    async def bounce(address: str) -> None:
        report = Report("bounce", (RecipientReport(address, "bounce", "5.1.1", text="no such user"),), ())
        async with Database(database) as pool, pool.transaction() as connection:
            await reports.write_reports(connection, [(email_id, report)])

    await bounce("ann@kunde.test")
    assert (await crm.email(email_id))["status_reason"] is None
    await bounce("bob@kunde.test")
    email = await crm.email(email_id)
    words = "no recipient got it: ann@kunde.test: 5.1.1 no such user; bob@kunde.test: 5.1.1 no such user"
    assert (email["status"], email["status_reason"]) == ("sent", words)


# --- What is kept ----------------------------------------------------------------------------------------------------


async def test_every_attempt_is_kept_with_relay_and_replies(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    script = {"RCPT TO:<bob@": "450 4.2.2 mailbox\0 full " + "x" * 5000}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test", "cem@kunde.test"], "one")
        await crm.wait_for(1, WAITS)
    row = await crm.admin.fetchrow("SELECT * FROM router.attempt")
    assert row is not None
    assert row["relay"].startswith(f"127.0.0.1:{server.port}")
    assert row["profile"] == "relay"
    assert row["claimed_at"] <= row["started_at"] <= row["finished_at"]
    accepted, deferred = json.loads(row["replies"])
    assert accepted == {
        "state": "accepted",
        "code": "2.0.0",
        "text": "Queued",
        "recipients": ["ann@kunde.test", "cem@kunde.test"],
    }
    assert (deferred["state"], deferred["code"], deferred["recipients"]) == ("deferred", "4.2.2", ["bob@kunde.test"])
    assert deferred["text"].startswith("mailbox full")
    assert len(deferred["text"]) <= 500


async def test_what_one_recipient_has_got_is_not_changed_for_the_others(crm: Crm, database: str) -> None:
    """Both versions would have the same Message-ID."""
    await crm.owner(ULLA)
    script = {"RCPT TO:<bob@": ["450 4.2.1 later", "250 2.1.5 Ok"]}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "one")
        await crm.wait_for(1, WAITS)
        with pytest.raises(asyncpg.CheckViolationError, match="was taken for some of its recipients") as refused:
            await crm.move(email_id, "draft")
        assert str(refused.value.hint).startswith("Set it to canceled")
        await crm.admin.execute(SOON)
        await crm.wait_for_status(email_id, "sent")
    assert len(server.messages) == 2
    assert server.messages[0] == server.messages[1]


async def test_of_what_nobody_has_got_yet_the_crm_can_make_another_version(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    script = {"RCPT": ["450 4.2.1 later", "250 2.1.5 Ok"]}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, "bob@kunde.test", "one")
        await crm.wait_for(1, WAITS)
        await crm.move(email_id, "draft")
        await crm.sql.execute("UPDATE crm.email SET subject = 'two' WHERE id = $1", email_id)
        await crm.move(email_id, "pending_send")
        await crm.wait_for_status(email_id, "sent")
    [message] = server.messages
    assert b"Subject: two " in message


async def test_what_is_from_one_mailbox_is_not_sent_from_another_that_its_owner_has_since(
    crm: Crm, database: str
) -> None:
    owner = await crm.owner(ULLA)
    script = {"RCPT TO:<bob@": ["450 4.2.1 later", "250 2.1.5 Ok"], "RCPT TO:<eve@": "450 4.2.1 later"}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        partly = await crm.send(ULLA, ["ann@kunde.test", "bob@kunde.test"], "one")
        to_nobody = await crm.send(ULLA, "eve@kunde.test", "two")
        await crm.wait_for(2, WAITS)
        await crm.sql.execute("UPDATE crm.owner SET mailbox = 'zoe@example.com' WHERE record_id = $1", owner)
        await crm.admin.execute("UPDATE crm.owner SET approved = true")
        await crm.admin.execute(SOON)
        for email_id, status in ((partly, "sent"), (to_nobody, "failed")):
            email = await crm.wait_for_status(email_id, status)
            assert "it is from another mailbox than its owner has now" in email["status_reason"]
    assert len(server.messages) == 1
