"""A relay that does not work is tried once at a time, whatever waits for it; one with a rate keeps to it."""

import asyncio
import base64
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from router.repository import processes
from router.repository.database import Database
from router.repository.overview.status import read_status
from tests.support.claims import carry
from tests.support.crm import Crm
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import profiles, relay, sending
from tests.support.traffic import queue, statuses
from transports._net.auth import Auth
from transports._net.secret import Secret

ULLA = "ulla@example.com"
SENT = "SELECT count(*) FROM crm.email WHERE status = 'sent'"


def logins(server: ScriptedSmtp) -> int:
    return sum(line.startswith("AUTH") for lines in server.commands for line in lines)


async def test_o14_a_wrong_password_is_not_tried_once_for_each_email(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.owner(ULLA)
    monkeypatch.setenv("RELAY_PASSWORD", "wrong")
    auth = Auth(user="crm", password=Secret(env="RELAY_PASSWORD"))
    await queue(crm, 500, [ULLA])
    script = {"AUTH": "535 5.7.8 who are you?"}
    async with ScriptedSmtp(script, offers=("AUTH PLAIN",)) as server, AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(sending(database, relay(server.port, auth=auth, connections=8)))
            for _ in range(2)
        ]
        await crm.wait_for("login_refused", "SELECT state FROM router.relay")
        # Each process asks once before it hears of the other's refusal; one of them may be asking still.
        await crm.wait_for(0, "SELECT count(*) FROM router.outbox WHERE process_id IS NOT NULL")
        assert logins(server) <= 2
        assert await crm.admin.fetchval("SELECT next_try_at > now() + interval '25 s' FROM router.relay")
        for expected in (1, 1):
            before = logins(server)
            await crm.admin.execute("UPDATE router.relay SET next_try_at = now()")
            await crm.wait_for(True, "SELECT next_try_at > now() FROM router.relay")
            assert logins(server) == before + expected
        async with Database(database, 1) as ours:
            status = await read_status(ours, timedelta(seconds=5))
        [told] = status.relays
        assert (told.state, told.waiting) == ("login_refused", 500)
        assert "who are you?" in told.fault
        assert await crm.admin.fetchval("SELECT count(*) FROM router.attempt") == 0
        assert await statuses(crm) == {"pending_send": 500}
        # Put right, it is tried at once.
        server.replies("AUTH", "235 2.7.0 welcome")
        for each in (one, other):
            each.update(profiles(relay(server.port, auth=auth, connections=7)))
        await crm.wait_for(500, SENT, timeout=60)


async def test_while_a_relay_is_at_fault_nothing_is_claimed_for_it_and_others_go_on(crm: Crm, database: str) -> None:
    for mailbox in (ULLA, "otto@other.test"):
        await crm.owner(mailbox)
    greetings = ["421 4.3.2 closed for lunch"] * 2 + ["220 relay.test"]
    with capture_logs() as lines:
        async with ScriptedSmtp({"greeting": greetings}) as away, ScriptedSmtp() as good:
            other = relay(good.port, "good", "*@other.test")
            async with sending(database, relay(away.port), other):
                await queue(crm, 20, [ULLA])
                await crm.wait_for_status(await crm.send("otto@other.test", "ann@kunde.test", "one"), "sent")
                await crm.wait_for(21, SENT)
        assert len(away.commands) <= 6  # two that were closed, and as many as there may be
    assert await crm.admin.fetchval("SELECT count(*) FROM router.relay") == 0
    assert await crm.admin.fetchval("SELECT max(number) FROM router.attempt") == 1
    faults = [line for line in lines if line["event"] == "a relay cannot be used now" and line["log_level"] != "debug"]
    assert len(faults) == 1


async def test_a_fault_that_is_met_while_a_claim_is_noted_is_not_told_to_be_over(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.owner(ULLA)
    await crm.send(ULLA, "ann@kunde.test", "one")
    async with Database(database, 1) as ours:
        await carry(ours)  # the first claim takes it
    note_fault, may_note = processes.note_fault, asyncio.Event()

    async def slowly(*arguments: Any) -> None:
        await may_note.wait()
        await note_fault(*arguments)

    monkeypatch.setattr(processes, "note_fault", slowly)
    with capture_logs() as lines:
        async with (
            ScriptedSmtp({"greeting": "421 4.3.2 closed for lunch"}) as away,
            sending(database, relay(away.port)),
        ):
            await crm.wait_for(1, "SELECT count(*) FROM router.relay")
            await crm.wait_for(0, "SELECT count(*) FROM router.attempt")  # it was given back
            may_note.set()
            await crm.wait_for(True, "SELECT failures > 1 FROM router.relay")
    assert [line for line in lines if line["event"] == "works again"] == []


async def test_a_rate_is_kept_by_all_processes_together_and_evenly(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    arrivals: list[float] = []

    class Timed(ScriptedSmtp):
        async def _content(self, *of_connection: asyncio.StreamReader) -> bool:  # type: ignore[override]
            arrivals.append(time.monotonic())
            return await super()._content(*of_connection)  # type: ignore[arg-type]

    async with Timed() as server, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(sending(database, relay(server.port, rate="1200/minute")))
        await queue(crm, 60, [ULLA])
        await crm.wait_for(60, SENT, timeout=30)
    assert len(arrivals) == 60
    # 20 a second; what is late does not come in a burst.
    assert arrivals[-1] - arrivals[0] >= 58 / 20 * 0.95
    assert all(arrivals[at + 10] - arrivals[at] >= 0.3 for at in range(len(arrivals) - 10))


async def test_a_rate_takes_what_is_normal_first(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    await queue(crm, 30, [ULLA])
    await crm.sql.execute("UPDATE crm.email SET lane = 'bulk'")
    async with ScriptedSmtp() as server, sending(database, relay(server.port, rate="600/minute")):
        await crm.wait_for(True, f"SELECT ({SENT}) >= 3")
        normal = await crm.send(ULLA, "ann@kunde.test", "normal")
        await crm.wait_for_status(normal, "sent")
        assert await crm.admin.fetchval(SENT) <= 10
        await crm.sql.execute("UPDATE crm.email SET status = 'canceled' WHERE status = 'pending_send'")


async def test_a_mailbox_that_cannot_log_in_delays_its_own_mail_and_no_other(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    otto = "otto@example.com"
    monkeypatch.setenv("RELAY_PASSWORD", "secret")
    for mailbox in (ULLA, otto):
        await crm.owner(mailbox)
    auth = Auth(user="{mailbox}", password=Secret(env="RELAY_PASSWORD"))
    ullas = "AUTH PLAIN " + base64.b64encode(f"\0{ULLA}\0secret".encode()).decode()
    script = {"AUTH": "235 2.7.0 Ok", ullas: "535 5.7.139 disabled for the mailbox"}
    async with ScriptedSmtp(script, offers=("AUTH PLAIN",)) as server:
        async with sending(database, relay(server.port, auth=auth, connections=4)):
            for number in range(20):
                await crm.send(ULLA, "ann@kunde.test", f"from Ulla {number}")
                await crm.send(otto, "ann@kunde.test", f"from Otto {number}")
            await crm.wait_for(20, SENT)
            await crm.wait_for(
                20, "SELECT count(*) FROM crm.email WHERE status_reason LIKE '%disabled for the mailbox%'"
            )
        assert await statuses(crm) == {"sent": 20, "pending_send": 20}
        said = [line for lines in server.commands for line in lines]
        assert said.count(ullas) <= 4  # by those that were under way at once
        assert await crm.admin.fetchval("SELECT count(*) FROM router.relay WHERE state <> 'working'") == 0
        # It counts as no attempt that the relay refused, and each mail leaves by its own mailbox.
        assert await crm.admin.fetchval("SELECT max(spent) FROM router.outbox") == 0
        server.replies(ullas, "235 2.7.0 Ok")
        await crm.admin.execute("UPDATE router.outbox SET next_at = now(), ready = true")
        async with sending(database, relay(server.port, auth=auth)):
            await crm.wait_for(40, SENT)
    assert {line for line in said if line.startswith("MAIL FROM")} == {f"MAIL FROM:<{otto}>"}
