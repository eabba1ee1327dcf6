"""One email from its slot to its recorded outcome, and what an admin is told of it."""

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from router.errors import ContentRefused, DatabaseAway
from router.outgoing import attempt
from router.outgoing.attempt import Attempts
from router.outgoing.relays import RelayPool
from router.repository.database import Database
from router.repository.outgoing import claim as claims
from router.repository.outgoing import outbox, recovery
from tests.support.claims import claim_only
from tests.support.crm import Crm
from tests.support.scripted_smtp import CLOSE, ScriptedSmtp, late
from tests.support.sending import relay, sending

ULLA = "ulla@example.com"


async def line_of(crm: Crm, database: str, server: ScriptedSmtp, *recipients: str) -> dict[str, Any]:
    """Send one email, and return what the log says of it in the end."""
    await crm.owner(ULLA)
    with capture_logs() as lines:
        async with sending(database, relay(server.port)):
            email_id = await crm.send(ULLA, recipients, "Secret Offer", "secret words")
            await crm.wait_for(1, "SELECT count(*) FROM router.attempt WHERE finished_at IS NOT NULL")
            async with asyncio.timeout(20):  # it is told after it is recorded
                while not any(line.get("email") == str(email_id) for line in lines):
                    await asyncio.sleep(0.01)
    assert not any(word in str(lines) for word in ("ecret", "@kunde.test", "@other.test", "nobody lives here"))
    [line] = [line for line in lines if line.get("email") == str(email_id)]
    return dict(line)


@pytest.mark.parametrize(
    ("reply", "level", "event", "told", "why"),
    [
        ("550 5.1.1 nobody lives here", "warning", "not sent", "refused 5.1.1 at kunde.test", "mailbox unknown"),
        ("552 5.3.4 nobody lives here", "warning", "not sent", "refused 5.3.4 at kunde.test", "size"),
        ("554 5.7.1 nobody lives here", "warning", "not sent", "refused 5.7.1 at kunde.test", "policy"),
        ("452 nobody lives here now", "info", "not sent yet", "deferred 452 at kunde.test", "other"),
    ],
)
async def test_a6_the_log_says_why_an_email_was_not_sent_and_to_which_domain(
    crm: Crm, database: str, reply: str, level: str, event: str, told: str, why: str
) -> None:
    async with ScriptedSmtp({"RCPT": reply}) as server:
        line = await line_of(crm, database, server, "ann@kunde.test")
    assert (line["log_level"], line["event"], line["profile"]) == (level, event, "relay")
    assert (line["recipients"], line["why"]) == ([told], [why])
    assert ("next_try" in line) == (event == "not sent yet")


async def test_a6_the_log_says_what_is_unknown(crm: Crm, database: str) -> None:
    async with ScriptedSmtp({".": CLOSE}) as server:
        line = await line_of(crm, database, server, "ann@kunde.test", "bob@kunde.test")
    assert (line["log_level"], line["event"], line["status"]) == ("warning", "not sent", "unknown")
    assert line["recipients"] == ["unknown 4.4.2 at kunde.test (2)"]


async def test_a6_the_log_says_who_did_not_get_what_was_sent(crm: Crm, database: str) -> None:
    async with ScriptedSmtp({"RCPT TO:<bob@": "550 5.1.1 nobody lives here"}) as server:
        line = await line_of(crm, database, server, "ann@kunde.test", "bob@other.test")
    assert (line["log_level"], line["event"], line["status"]) == ("info", "sent", "sent")
    assert line["recipients"] == ["refused 5.1.1 at other.test"]


async def test_a6_what_all_have_taken_needs_no_more_words(crm: Crm, database: str) -> None:
    async with ScriptedSmtp() as server:
        line = await line_of(crm, database, server, "ann@kunde.test")
    assert (line["event"], line["profile"]) == ("sent", "relay")
    assert "recipients" not in line


async def test_a16_the_log_says_once_that_a_relay_is_at_fault_and_once_that_it_works_again(
    crm: Crm, database: str
) -> None:
    await crm.owner(ULLA)
    greetings = ["421 4.3.2 closed for lunch"] * 3 + ["220 relay.test"]
    with capture_logs() as lines:
        async with ScriptedSmtp({"greeting": greetings}) as server, sending(database, relay(server.port)):
            first = await crm.send(ULLA, "ann@kunde.test", "one")
            await crm.wait_for_status(first, "sent")
            await crm.wait_for_status(await crm.send(ULLA, "ann@kunde.test", "two"), "sent")
            await crm.wait_for(0, "SELECT count(*) FROM router.relay")
    told = [line for line in lines if line.get("profile") == "relay" and "email" not in line]
    told = [line for line in told if line["log_level"] != "debug"]
    assert [(line["log_level"], line["event"]) for line in told] == [
        ("warning", "a relay cannot be used now"),
        ("info", "works again"),
    ]
    assert "closed for lunch" in told[0]["reason"]
    assert told[1]["after"] >= 0


async def test_a_known_outcome_is_written_when_the_database_is_back(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.owner(ULLA)
    record = outbox.record
    faults = [DatabaseAway("away"), ContentRefused("not in this group"), DatabaseAway("away again")]

    async def failing(*arguments: Any, **more: Any) -> None:
        if faults:
            raise faults.pop(0)
        await record(*arguments, **more)

    monkeypatch.setattr(outbox, "record", failing)
    with capture_logs() as lines:
        async with ScriptedSmtp() as server, sending(database, relay(server.port)):
            await crm.wait_for_status(await crm.send(ULLA, "ann@kunde.test", "one"), "sent")
    assert len(server.messages) == 1
    waiting = [line["reason"] for line in lines if line["event"] == "an outcome cannot be recorded now"]
    assert waiting == ["away", "not in this group", "away again"]


async def test_what_is_claimed_when_the_process_stops_is_given_back(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    email_id = await crm.send(ULLA, "ann@kunde.test", "one")
    process_id = uuid4()
    async with Database(database) as pool, ScriptedSmtp() as server:
        attempts = Attempts(pool, process_id)
        [claim] = await claim_only(pool, process_id, 1)
        attempts.stopping = True
        relay_pool = RelayPool(relay(server.port), pool, process_id, timedelta(seconds=5))
        await attempts.send(relay_pool, claim, time.monotonic())
        assert server.commands == []
    assert (await crm.email(email_id))["status"] == "pending_send"


@pytest.mark.parametrize("module", [claims, outbox], ids=["by its claim", "after its claim"])
async def test_what_is_taken_over_before_its_process_hears_that_it_may_start_is_not_sent(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    await crm.owner(ULLA)
    name = "claim" if module is claims else "start"
    commits, hung = getattr(module, name), asyncio.Event()

    async def hang(pool: Database, *arguments: Any) -> Any:
        """Commit, and be stopped so long that another process takes over."""
        result = await commits(pool, *arguments)
        if not hung.is_set() and await recovery.recover(pool, uuid4(), timedelta(0)):
            await asyncio.sleep(2 * attempt._AT_ONCE)
            hung.set()
        return result

    monkeypatch.setattr(attempt, "_AT_ONCE", 0.1)
    async with ScriptedSmtp() as server, sending(database, relay(server.port)) as sender:
        if module is claims:  # over a connection that is open an email starts by its claim
            await crm.wait_for_status(await crm.send(ULLA, "ann@kunde.test", "one"), "sent")
            async with asyncio.timeout(20):
                while not sender._relays._pools["relay"].warm or sender._relays.under_way:
                    await asyncio.sleep(0.01)
        before = len(server.messages)
        monkeypatch.setattr(module, name, hang)
        await sender._claimer.wait()  # a claim under way would not hang
        email_id = await crm.send(ULLA, "ann@kunde.test", "two")
        async with asyncio.timeout(20):
            await hung.wait()
            while sender._relays.under_way:
                await asyncio.sleep(0.01)
        assert len(server.messages) == before
    assert (await crm.email(email_id))["status"] == "unknown"


@pytest.mark.parametrize("size", [10, 200_000], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "script", [{"RCPT": ["250 Ok", late("250 Ok", 0.5)]}, {"MAIL": ["250 Ok", late(CLOSE, 0.5), "250 Ok"]}]
)
async def test_what_is_taken_over_before_the_end_of_its_content_is_not_sent_to_its_end(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch, script: Any, size: int
) -> None:
    await crm.owner(ULLA)
    monkeypatch.setattr(attempt, "_AT_ONCE", 0.1)
    async with (
        Database(database) as other,
        ScriptedSmtp(script) as server,
        sending(database, relay(server.port)),
    ):
        await crm.wait_for_status(await crm.send(ULLA, "ann@kunde.test", "one"), "sent")
        email_id = await crm.send(ULLA, "ann@kunde.test", "two", "long words " * (size // 10))
        await crm.wait_for(2, "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL")
        assert await recovery.recover(other, uuid4(), timedelta(0)) == 1
        await crm.wait_for_status(email_id, "sent")
        assert len(server.messages) == 2
    outcomes = await crm.admin.fetch(
        "SELECT left(outcome, 12) AS outcome FROM router.attempt WHERE email_id = $1 ORDER BY claimed_at", email_id
    )
    assert [row["outcome"] for row in outcomes] == ["pending_send", "sent"]
