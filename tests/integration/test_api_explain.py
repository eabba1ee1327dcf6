"""Why a message is in the CRM, or is not; and what another rule would have made of a mailbox; by the API."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.integration.test_api import check_problem
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.api import EVERYTHING, Answered, Api
from tests.support.console import wait_for
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

KARL, ANN, BOB = "karl@kunde.test", "ann@in.test", "bob@in.test"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


async def serve(new_router: NewRouter, session: aiohttp.ClientSession, profiles: str, *says: str) -> Api:
    """Start a router with these profiles, and make a token for everything."""
    port = free_port()
    router = await new_router(profiles, says=says, EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
    await wait_for(port, "/healthz", 200)
    api = Api(router, port, session, "")
    api.token = await api.token_of(f"tests{port}", *EVERYTHING)
    return api


async def test_why_a_message_is_there_or_not_is_told(
    crm: Crm, new_router: NewRouter, session: aiohttp.ClientSession
) -> None:
    await crm.owner(ANN, "known")
    await crm.owner(BOB, "replies")
    await crm.record("contact", "Karl", KARL)
    port = free_port()
    copies = (
        f'[incoming.copies]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n'
        'authserv = "mail.in.test"\n'
    )
    api = await serve(new_router, session, copies, "listening")
    denied = b"Authentication-Results: mail.in.test; spf=pass; dmarc=fail\r\n"
    offer = letter(KARL, f"{ANN}, {BOB}", "Your offer", Message_ID="<offer@kunde.test>")
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail(KARL, [BOB], offer)
        smtp.sendmail(KARL, [ANN], offer)
        smtp.sendmail(KARL, [ANN], denied + letter(KARL, ANN, "Secret plan", Message_ID="<held@kunde.test>"))

    async def explain(message_id: str) -> Any:
        return (await api.get("/explain", params={"message_id": message_id})).json

    told = await explain("<offer@kunde.test>")
    assert (told["answer"], told["in_crm"], told["mailboxes"]) == ("in the CRM", True, [])
    [email] = told["emails"]
    assert (email["subject"], email["sender"], email["recipients"]) == ("Your offer", KARL, [ANN, BOB])
    assert (email["owner"], email["rule"]) == (ANN, "known")
    assert "the sender is a contact, lead or account" in email["reasons"]
    became = {one["mailbox"]: (one["disposition"], one["rule"]) for one in email["copies"]}
    assert became == {ANN: ("promoted", "known"), BOB: ("duplicate", "replies")}
    assert all(one["reasons"] for one in email["copies"])

    told = await explain("held@kunde.test")
    assert (told["in_crm"], told["emails"]) == (False, [])
    assert "is held" in told["answer"]
    [ann] = [one for one in told["mailboxes"] if one["letters"]]
    assert (ann["mailbox"], ann["rule"]) == (ANN, "known")
    assert "Secret" not in str(told)
    assert (await explain("nothing@kunde.test"))["in_crm"] is False

    # Of a private one what is told gives away neither what it says nor who is on it.
    await crm.admin.execute("UPDATE crm.email SET private = true")
    told = await explain("offer@kunde.test")
    assert told["emails"][0]["rule"] == "known"
    assert not any(words in str(told) for words in ("Your offer", KARL))
    check_problem(await api.get("/explain"), 422)
    sender = await api.token_of("sender", "emails:send")
    check_problem(await api.get("/explain", params={"message_id": "x"}, token=sender), 403)


async def test_another_rule_is_tried(
    crm: Crm,
    new_router: NewRouter,
    session: aiohttp.ClientSession,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
) -> None:
    await crm.owner(mailbox, "replies")
    await crm.record("contact", "Karl", KARL)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "Offer"))
    dovecot.deliver(mailbox, letter("stranger@out.test", mailbox, "secret"))
    profiles = incoming(start="all", poll=1)
    api = await serve(new_router, session, profiles)
    await crm.wait_for_decisions(2)

    async def ended(path: str) -> Answered:
        async with asyncio.timeout(30):
            while not (found := await api.get(path)).json["done"]:
                await asyncio.sleep(0.05)
        return found

    begun = await api.post("/simulations", {"mailbox": mailbox, "rule": "known"})
    assert begun.status == 202
    path = "/" + begun.headers["Location"]
    found = (await ended(path)).json
    assert (found["fault"], found["rule_now"], found["compared"]) == (None, "replies", 2)
    assert {one["disposition"]: (one["now"], one["then"]) for one in found["numbers"]} == {
        "promoted": (0, 1),
        "ignored": (2, 1),
    }
    [change] = found["changes"]
    assert (change["now"], change["then"]) == ("ignored", "promoted")
    assert change["then_because"][-1] == "the sender is a contact, lead or account"
    assert "secret" not in str(found)
    begun = await api.post("/simulations", {"mailbox": "x@in.test", "rule": "known", "last": 10})
    assert (await ended("/" + begun.headers["Location"])).json["fault"] == "no owner has the mailbox x@in.test"
    check_problem(await api.post("/simulations", {"mailbox": mailbox, "rule": "some"}), 422)
    check_problem(await api.post("/simulations", {"mailbox": mailbox, "rule": "all", "last": 501}), 422)
    reader = await api.token_of("reader", "owners:read")
    check_problem(await api.post("/simulations", {"mailbox": mailbox, "rule": "all"}, token=reader), 403)
    check_problem(await api.get(path, token=reader), 403)

    # Two at a time: those whose server does not answer are under way until it does.
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    dovecot_stops = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    async with dovecot_stops:
        port = dovecot_stops.sockets[0].getsockname()[1]
        slow = await serve(new_router, session, incoming(start="all", poll=1, port=port))
        async with asyncio.timeout(30):
            for _ in range(2):
                begun = await slow.post("/simulations", {"mailbox": mailbox, "rule": "known"})
                assert begun.status == 202
        busy = await slow.post("/simulations", {"mailbox": mailbox, "rule": "known"})
        assert "under way" in check_problem(busy, 503)
        assert busy.headers["Retry-After"]
        under_way = "/" + begun.headers["Location"]
        assert (await slow.get(under_way)).json["done"] is False
        # Whichever process is asked, it tells the same.
        await crm.wait_for(1, "SELECT count(*) FROM router.simulation WHERE id = $1 AND done", found["id"])
        assert (await slow.get(path)).json == found
        elsewhere = (await api.get(under_way)).json
        assert (elsewhere["mailbox"], elsewhere["done"], elsewhere["fault"]) == (mailbox, False, None)
        assert await crm.admin.fetchval("SELECT count(*) FROM router.simulation WHERE NOT done") == 2
        # One whose process has ended is done, and says so.
        silent = "UPDATE router.simulation SET seen_at = now() - interval '1 day' WHERE id = $1"
        await slow.router.stop()
        await crm.admin.execute(silent, begun.headers["Location"].rpartition("/")[2])
        left = (await api.get(under_way)).json
        assert (left["done"], "has ended before it was done: begin it again" in left["fault"]) == (True, True)

    # A person has two under way in all processes together; what is silent does not count.
    await crm.admin.execute(
        "UPDATE router.simulation SET by = $1, done = false, seen_at = now() + interval '1 hour'", found["by"]
    )
    assert "of yours are under way" in check_problem(
        await api.post("/simulations", {"mailbox": mailbox, "rule": "all"}), 503
    )
    await crm.admin.execute(
        "UPDATE router.simulation SET seen_at = now() - interval '1 day', begun_at = now() - interval '2 days'"
    )
    assert (await api.post("/simulations", {"mailbox": mailbox, "rule": "all"})).status == 202
    await crm.wait_for(0, "SELECT count(*) FROM router.simulation WHERE begun_at < now() - interval '1 day'")
    assert "begin it again" in check_problem(await api.get("/simulations/none"), 404)
    noted = await crm.admin.fetchval("SELECT count(*) FROM router.audit_log WHERE action = 'rule-simulated'")
    assert noted == 5
