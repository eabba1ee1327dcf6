"""Mail by OAuth2, end to end: an authorization server, Dovecot and Postfix, and the router in one process or two."""

import asyncio
import re
from collections.abc import Callable

import pytest

from tests.servers.tls import Tls
from tests.support.crm import Crm
from tests.support.office import Office
from tests.support.router_process import NewRouter

MAILBOXES = 50
RECEIPTS = "SELECT count(*) FROM crm.receipt"
FAULT = "SELECT count(*) FROM router.token WHERE fault IS NOT NULL"
SENT = "SELECT count(*) FROM crm.email WHERE status = 'sent'"
SHORT = 3.0  # seconds that a token lasts


@pytest.fixture
async def mailboxes(crm: Crm, new_mailbox: Callable[[str], str]) -> list[str]:
    made = [new_mailbox(f"user{number}") for number in range(MAILBOXES)]
    for mailbox in made:
        await crm.owner(mailbox, "all")
    return made


async def test_two_processes_and_fifty_mailboxes_ask_once(
    crm: Crm, new_router: NewRouter, office: Office, mailboxes: list[str], database: str
) -> None:
    office.timeout = 60  # who asks again after a timeout is counted twice
    profiles = office.incoming() + office.outgoing()
    office.server.withhold()
    first = await office.router(new_router, profiles)
    await asyncio.to_thread(office.server.wait_until_held)
    second = await office.router(new_router, profiles)  # it needs the token while the other asks for it
    await crm.wait_for(2, "SELECT count(DISTINCT process_id) FROM router.source")
    office.server.mend()
    await crm.wait_for_sources(MAILBOXES, timeout=40)
    await asyncio.to_thread(office.deliver, mailboxes)
    for mailbox in mailboxes:
        await crm.send(mailbox, "karl@kunde.test", "Hello", "Hello.")
    await crm.wait_for_emails(MAILBOXES, timeout=40)
    await crm.wait_for(MAILBOXES, SENT, timeout=40)
    assert office.server.count() == office.server.count("client_credentials", said="ok") == 1
    await office.check_secrets(crm, database, first, second)
    # "doctor", and "test" twice, ask once each, for whatever mailboxes.
    assert office.server.count() == 4


async def test_each_mailbox_has_a_token_of_its_own_for_both_processes(
    crm: Crm, new_router: NewRouter, office: Office, mailboxes: list[str], database: str
) -> None:
    office.timeout = 60  # who asks again after a timeout is counted twice
    profiles = office.incoming(grant="jwt_bearer") + office.outgoing(grant="jwt_bearer")
    routers = [await office.router(new_router, profiles) for _ in range(2)]
    await crm.wait_for_sources(MAILBOXES, timeout=40)
    await asyncio.to_thread(office.deliver, mailboxes)
    for _ in range(4):
        for mailbox in mailboxes:
            await crm.send(mailbox, "karl@kunde.test", "Hello", "Hello.")
    await crm.wait_for_emails(MAILBOXES, timeout=40)
    await crm.wait_for(4 * MAILBOXES, SENT, timeout=60)
    assert sorted(one.subject for one in office.server.asked) == sorted(mailboxes)
    await office.check_secrets(crm, database, *routers)


async def test_no_mail_is_lost_while_tokens_expire_and_rotate(
    crm: Crm, new_router: NewRouter, office: Office, mailboxes: list[str], database: str
) -> None:
    few = mailboxes[:5]
    office.server.lifetime = SHORT
    profiles = office.incoming("pop3", grant="refresh_token") + office.outgoing(grant="refresh_token")
    routers = [await office.router(new_router, profiles) for _ in range(2)]
    await crm.wait_for_sources(MAILBOXES, timeout=40)
    mails = 0
    while office.server.count("refresh_token") < 5:
        await asyncio.to_thread(office.deliver, few)
        for mailbox in few:
            await crm.send(mailbox, "karl@kunde.test", "Hello", "Hello.")
        mails += len(few)
        await crm.wait_for_emails(mails, timeout=40)
        await crm.wait_for(mails, SENT, timeout=40)
    assert {one.said for one in office.server.asked} == {"ok"}
    await crm.check_balance()
    await office.check_secrets(crm, database, *routers)


@pytest.mark.parametrize("trouble", ["away", "throttled", "broken", "hanging"])
async def test_mail_waits_for_a_token_server_in_trouble(
    crm: Crm, new_router: NewRouter, office: Office, mailbox: str, trouble: str
) -> None:
    server = office.server
    await crm.owner(mailbox, "all")
    server.lifetime = SHORT
    router = await office.router(new_router, office.incoming("pop3") + office.outgoing())
    await crm.wait_for_sources(1)
    {
        "away": server.stop,
        "throttled": lambda: server.throttle(12),  # longer than it takes to be told, on a machine that is busy
        "broken": lambda: server.break_with(502, "<h1>Bad gateway</h1>"),
        "hanging": server.hang,
    }[trouble]()
    asked = server.count()
    await crm.wait_for("temporary", "SELECT fault_kind FROM router.token", timeout=40)
    await asyncio.to_thread(office.deliver, [mailbox])
    email = await crm.send(mailbox, "karl@kunde.test", "Hello", "Hello.")
    await crm.wait_for(True, "SELECT fault IS NOT NULL FROM router.source")
    words = await crm.admin.fetchval("SELECT fault FROM router.source")
    assert "localhost" in words
    assert "refuses the login" not in words
    if trouble == "throttled":
        assert server.count() == asked + 1
    if trouble == "away":
        server.start()
    server.mend()
    await crm.wait_for_emails(1, timeout=40)
    await crm.wait_for_status(email, "sent", timeout=40)
    assert router.running


async def test_a_login_that_is_revoked_stops_nothing_else_and_goes_on_when_it_is_renewed(
    crm: Crm, new_router: NewRouter, office: Office, new_mailbox: Callable[[str], str], database: str
) -> None:
    ann, bob = new_mailbox("ann"), new_mailbox("bob")
    for mailbox in (ann, bob):
        await crm.owner(mailbox, "all")
    office.server.lifetime = SHORT
    router = await office.router(
        new_router,
        office.incoming("pop3", name="ann", grant="refresh_token", owners=[ann])
        + office.incoming("pop3", name="bob", owners=[bob]),
    )
    await crm.wait_for_sources(2)
    office.server.revoke()
    await crm.wait_for("refused", "SELECT fault_kind FROM router.token WHERE fault IS NOT NULL", timeout=40)
    await asyncio.to_thread(office.deliver, [ann, bob])
    await crm.wait_for_emails(1, timeout=40)
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault LIKE '%refresh_token says%'")
    # It is not asked again and again.
    asked = office.server.count("refresh_token", said="invalid_grant")
    assert asked <= 2
    await office.check_secrets(crm, database, router)
    office.log_in_again()
    await crm.wait_for_emails(2, timeout=60)


@pytest.mark.parametrize("rotates", [True, False])
async def test_a_process_that_is_killed_while_a_refresh_token_is_rotated_loses_no_mail(
    crm: Crm, new_router: NewRouter, office: Office, new_mailbox: Callable[[str], str], *, rotates: bool
) -> None:
    ann, bob = new_mailbox("ann"), new_mailbox("bob")
    for mailbox in (ann, bob):
        await crm.owner(mailbox, "all")
    server = office.server
    server.lifetime, server.rotate = SHORT, rotates
    profiles = office.incoming("pop3", name="ann", grant="refresh_token", owners=[ann]) + office.incoming(
        "pop3", name="bob", grant="jwt_bearer", owners=[bob]
    )
    router = await office.router(new_router, profiles, lease=1)
    await crm.wait_for_sources(2)
    server.withhold("refresh_token")
    await asyncio.to_thread(server.wait_until_held)
    await router.kill()
    server.mend()
    await asyncio.to_thread(office.deliver, [ann, bob])
    second = await office.router(new_router, profiles, lease=1)
    await crm.wait_for(
        1,
        "SELECT count(*) FROM crm.receipt AS r JOIN crm.owner AS o ON o.record_id = r.owner_id WHERE o.mailbox = $1",
        bob,
        timeout=40,
    )
    if rotates:
        # What took the old one's place was lost with the process: a person has to log in again.
        await crm.wait_for(1, "SELECT count(*) FROM router.token WHERE fault LIKE '%a process ended%'", timeout=40)
        assert server.count("refresh_token", said="invalid_grant") == 1
        office.log_in_again()
    await crm.wait_for_emails(2, timeout=60)
    assert second.running


async def test_an_application_is_known_by_its_certificate(
    crm: Crm, new_router: NewRouter, office: Office, mailbox: str, tls: Tls
) -> None:
    await crm.owner(mailbox, "all")
    await office.router(new_router, office.incoming(auth=office.auth(certificate=tls)))
    await crm.wait_for_sources(1)
    await asyncio.to_thread(office.deliver, [mailbox])
    await crm.wait_for_emails(1)
    assert office.server.count(said="ok") == 1


async def test_a_token_that_a_mail_server_refuses_is_asked_for_anew_once(
    crm: Crm, new_router: NewRouter, office: Office, mailbox: str
) -> None:
    """What is younger than a minute is not asked for anew, so the test makes it older."""
    await crm.owner(mailbox, "all")
    office.server.spoils = True
    router = await office.router(new_router, office.incoming("pop3"))
    refused = "SELECT count(*) FROM router.source WHERE fault LIKE '%refuses the login%'"
    await crm.wait_for(1, refused)
    assert office.server.count() == 1
    # The second is as bad, and for ten minutes no other is asked for, however old that one is.
    for _ in range(2):
        await router.stop()
        await crm.admin.execute("UPDATE router.source SET fault = NULL, fault_since = NULL, next_try_at = NULL")
        await crm.admin.execute(
            "UPDATE router.token SET granted_at = granted_at - interval '2 min', "
            "invalidated_at = invalidated_at - interval '2 min'"
        )
        await router.start()
        await crm.wait_for(1, refused)
        assert office.server.count() == 2


async def test_the_test_command_walks_the_way_and_says_what_to_do(
    crm: Crm, new_router: NewRouter, office: Office, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    router = await office.router(new_router, office.incoming() + office.outgoing())
    status, said = await router.ask("test")
    assert status == 0, said
    for words in ("ok +token server", "ok +grant", "ok +scope", "ok +login"):
        assert re.search(words, said), said
    office.server.expire_secret()
    status, said = await router.ask("test")
    said = " ".join(said.split())
    assert status == 1
    assert "the client secret has expired" in said
    assert "make a new client secret" in said
    office.server.stop()
    status, said = await router.ask("test")
    assert status == 1
    assert "let this machine reach it over HTTPS" in " ".join(said.split())
