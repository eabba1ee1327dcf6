"""Reports come back to a return path of the attempt's own (VERP), by which they find the email that they are on."""

import asyncio
import smtplib
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from router.model.return_path import return_path
from tests.integration.test_reports import THREE, report, states, status
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.support.crm import Crm
from tests.support.forwards import AUTHSERV, journal, vouched
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import relay, sending

MARKS = "SELECT address, state, code FROM crm.address_state ORDER BY address"

NOTHING = "Subject: Offer\n"
"""An original that names no email."""


@pytest.fixture
def bounces(new_mailbox: Callable[[str], str]) -> str:
    return new_mailbox("bounces")


@pytest.fixture
def pattern(bounces: str) -> str:
    return bounces.replace("@", "+{id}@")


@pytest.fixture
def customers(mailbox: str) -> list[str]:
    return [mailbox.replace("@in.test", f".{name}@kunde.test") for name in THREE]


@pytest.fixture
async def offer(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    mailbox: str,
    bounces: str,
    pattern: str,
    customers: list[str],
) -> UUID:
    """An email that was sent to three recipients; reports on it go to a queue."""
    await crm.owner(mailbox, "replies")
    await crm.owner(bounces, "replies", kind="queue")
    await new_router(incoming() + outgoing(return_path=pattern))
    await crm.wait_for_sources(2)
    email_id = await crm.send(mailbox, customers, "Offer", "Two hundred chairs.\n")
    await crm.wait_for_status(email_id, "sent")
    return email_id


async def path_of(crm: Crm, pattern: str, email_id: UUID) -> str:
    return return_path(pattern, await crm.admin.fetchval("SELECT id FROM router.attempt WHERE email_id = $1", email_id))


async def marks(crm: Crm) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in await crm.rows(MARKS)]


async def found(crm: Crm) -> list[tuple[UUID | None, str | None]]:
    rows = await crm.rows("SELECT correlated_id, correlation_method FROM crm.email WHERE direction = 'in'")
    return [tuple(row) for row in rows]


async def test_a_report_to_the_return_path_is_on_the_email_and_its_recipient_alone(
    crm: Crm,
    offer: UUID,
    postfix: Postfix,
    dovecot: Dovecot,
    mailbox: str,
    bounces: str,
    pattern: str,
    customers: list[str],
) -> None:
    path = await path_of(crm, pattern, offer)
    assert {one.sender for one in await asyncio.to_thread(postfix.wait_for, 1, customers[0])} == {path}
    dovecot.deliver(bounces, report(path, status(customers[0], "failed", "5.1.1"), NOTHING))
    await crm.wait_for_emails(1)
    assert [state for state, _ in await states(crm, offer)] == ["refused", "accepted", "accepted"]
    assert await found(crm) == [(offer, "report")]
    # The others know the return path, too.
    assert await marks(crm) == []
    # Its party is the queue, under its own address.
    assert await crm.sql.fetchval("SELECT address FROM crm.party WHERE address LIKE 'bounces%'") == bounces
    assert (await crm.email(offer))["status_reason"] is None

    alone = await crm.send(mailbox, customers[0], "Chair", "One chair.\n")
    await crm.wait_for_status(alone, "sent")
    path = await path_of(crm, pattern, alone)
    dovecot.deliver(bounces, report(path, status(customers[0], "failed", "5.1.1"), NOTHING))
    await crm.wait_for_emails(2)
    assert await marks(crm) == [(customers[0], "bounced", "5.1.1")]


async def test_when_every_recipient_bounced_the_email_stays_sent_and_says_so(
    crm: Crm, offer: UUID, dovecot: Dovecot, bounces: str, pattern: str, customers: list[str]
) -> None:
    path = await path_of(crm, pattern, offer)
    for number, customer in enumerate(customers, 1):
        dovecot.deliver(bounces, report(path, status(customer, "failed", "5.1.1"), NOTHING))
        await crm.wait_for_emails(number)
    email = await crm.email(offer)
    assert email["status"] == "sent"
    words = "; ".join(f"{customer}: 5.1.1 550 5.1.1 so it is" for customer in sorted(customers))
    assert email["status_reason"] == f"no recipient got it: {words}"
    [event] = await crm.rows("SELECT email_id, details ->> 'reason' AS reason FROM crm.event WHERE kind = 'bounced'")
    assert tuple(event) == (offer, email["status_reason"])


async def test_it_says_so_later_where_the_crm_has_the_email_locked(
    crm: Crm, offer: UUID, dovecot: Dovecot, bounces: str, pattern: str, customers: list[str]
) -> None:
    path = await path_of(crm, pattern, offer)
    all_of_them = "".join(f"\n{status(customer, 'failed', '5.1.1')}" for customer in customers)
    async with crm.sql.transaction():
        await crm.sql.execute("SELECT FROM crm.email WHERE id = $1 FOR NO KEY UPDATE", offer)
        dovecot.deliver(bounces, report(path, all_of_them, NOTHING))
        await crm.wait_for_emails(1)
        assert (await crm.email(offer))["status_reason"] is None
    await crm.wait_for(1, "SELECT count(*) FROM crm.event WHERE kind = 'bounced'")
    assert str((await crm.email(offer))["status_reason"]).startswith("no recipient got it: ")
    assert await crm.admin.fetchval("SELECT count(*) FROM router.bounced") == 0


async def test_delays_deliveries_and_complaints_find_the_email_by_the_return_path(
    crm: Crm, offer: UUID, dovecot: Dovecot, bounces: str, pattern: str, customers: list[str]
) -> None:
    path = await path_of(crm, pattern, offer)
    dovecot.deliver(bounces, report(path, status(customers[0], "delayed", "4.4.1"), NOTHING))
    dovecot.deliver(bounces, report(path, status(customers[1], "delivered", "2.0.0"), NOTHING))
    told = "Feedback-Type: abuse\nVersion: 1\n"
    original = f"To: {customers[2]}\n{NOTHING}"
    dovecot.deliver(bounces, report(path, told, original, "feedback-report", "message/feedback-report"))
    await crm.wait_for_emails(3)
    assert [state for state, _ in await states(crm, offer)] == ["delayed", "accepted", "accepted"]
    rows = await crm.rows("SELECT kind, details ->> 'address' AS address FROM crm.event WHERE details ? 'address'")
    assert {tuple(row) for row in rows} == {
        ("delayed", customers[0]),
        ("accepted", customers[1]),
        ("complaint", customers[2]),
    }
    assert await marks(crm) == []


async def test_the_return_path_outweighs_every_other_name_of_an_email(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, bounces: str, pattern: str, customers: list[str]
) -> None:
    other = await crm.send(mailbox, customers, "Another", "Chairs.\n")
    await crm.wait_for_status(other, "sent")
    before = await states(crm, other)
    fields = f"Original-Envelope-Id: {other}\n{status(customers[0], 'failed', '5.1.1')}"
    original = f"Message-ID: <{(await crm.email(other))['message_id']}>\n"
    dovecot.deliver(bounces, report(await path_of(crm, pattern, offer), fields, original))
    await crm.wait_for_emails(1)
    assert [state for state, _ in await states(crm, offer)] == ["refused", "accepted", "accepted"]
    assert await states(crm, other) == before


async def test_the_envelope_id_outweighs_the_original_message_id_but_proves_nothing(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    other = await crm.send(mailbox, customers, "Another", "Chairs.\n")
    await crm.wait_for_status(other, "sent")
    before = await states(crm, other)
    fields = f"Original-Envelope-Id: {offer}\n{status(customers[0], 'failed', '5.1.1')}"
    original = f"Message-ID: <{(await crm.email(other))['message_id']}>\n"
    dovecot.deliver(mailbox, report(mailbox, fields, original))
    await crm.wait_for_emails(1)
    assert [state for state, _ in await states(crm, offer)] == ["refused", "accepted", "accepted"]
    assert await states(crm, other) == before
    assert await marks(crm) == []


async def test_forged_reports_get_no_further_than_without_return_paths(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, bounces: str, pattern: str, customers: list[str]
) -> None:
    """Whoever knows the email's id or Message-ID, and not its return path, marks no address."""
    before = await states(crm, offer)
    draft = await crm.draft(mailbox, customers, "Draft", "Nobody has seen it.\n")
    guessed = return_path(pattern, uuid4())
    as_id = return_path(pattern, offer)  # the email's own id, which stands in its Message-ID
    forged = [
        report(guessed, status(customers[0], "failed", "5.1.1"), NOTHING),
        report(as_id, status(customers[0], "failed", "5.1.1"), NOTHING),
        # An envelope id counts only with a recipient of the email, and for what was sent.
        report(bounces, f"Original-Envelope-Id: {offer}\n{status('x@b.test', 'failed', '5.1.1')}", NOTHING),
        report(bounces, f"Original-Envelope-Id: {draft}\n{status(customers[0], 'failed', '5.1.1')}", NOTHING),
    ]
    for one in forged:
        dovecot.deliver(bounces, one)
    await crm.wait_for_decisions(len(forged))
    assert await crm.dispositions() == {"ignored": len(forged)}
    assert await states(crm, offer) == before
    # By the Message-ID the recipient's state changes, as ever; to the return path of another email it is proof of none.
    other = await crm.send(mailbox, "stranger@kunde.test", "Another", "Chairs.\n")
    await crm.wait_for_status(other, "sent")
    original = f"Message-ID: <{(await crm.email(offer))['message_id']}>\n"
    dovecot.deliver(bounces, report(bounces, status(customers[0], "failed", "5.1.1"), original))
    await crm.wait_for_emails(1)
    theirs = await path_of(crm, pattern, other)
    dovecot.deliver(bounces, report(theirs, status(customers[1], "failed", "5.1.1"), original))
    await crm.wait_for_emails(2)
    assert [state for state, _ in await states(crm, offer)] == ["refused", "accepted", "accepted"]
    assert await marks(crm) == []


async def test_what_is_no_report_is_treated_as_the_queues_other_mail(
    crm: Crm, offer: UUID, dovecot: Dovecot, bounces: str, pattern: str, customers: list[str]
) -> None:
    path = await path_of(crm, pattern, offer)
    before = await states(crm, offer)
    dovecot.deliver(bounces, letter(customers[0], path, "I have a question", "When do they come?\n"))
    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"ignored": 1}
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all' WHERE mailbox = $1", bounces)
    dovecot.deliver(bounces, letter(customers[0], path, "I have another question", "When do they come?\n"))
    await crm.wait_for_emails(1)
    assert await states(crm, offer) == before
    assert await found(crm) == [(None, None)]


async def test_a_report_that_names_nobody_is_on_the_lone_recipient_of_the_return_path(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, bounces: str, pattern: str, customers: list[str]
) -> None:
    before = await states(crm, offer)
    alone = await crm.send(mailbox, customers[0], "Chair", "One chair.\n")
    await crm.wait_for_status(alone, "sent")
    text = "Your message could not be delivered.\n\n550 5.1.1 there is no such user here\n"
    path = await path_of(crm, pattern, alone)
    dovecot.deliver(bounces, letter("MAILER-DAEMON@kunde.test", path, "Undelivered Mail Returned to Sender", text))
    await crm.wait_for_emails(1)
    assert await found(crm) == [(alone, "report")]
    assert [state for state, _ in await states(crm, alone)] == ["refused"]
    assert await states(crm, offer) == before


@pytest.fixture
async def to_postfix(
    crm: Crm, new_router: NewRouter, outgoing: Profile, mailbox: str
) -> Callable[..., Awaitable[UUID]]:
    """Send by Postfix with a return path, beside this incoming profile."""

    async def send(profiles: str, path: str, sources: int, recipients: list[str]) -> UUID:
        await crm.owner(mailbox, "replies")
        await new_router(profiles + outgoing(return_path=path))
        await crm.wait_for_sources(sources)
        email_id = await crm.send(mailbox, recipients, "Offer", "Two hundred chairs.\n")
        await crm.wait_for_status(email_id, "sent")
        return email_id

    return send


async def test_postfix_reports_to_the_return_path_and_the_address_is_marked(
    crm: Crm,
    to_postfix: Callable[..., Awaitable[UUID]],
    incoming: Profile,
    postfix: Postfix,
    bounces: str,
    pattern: str,
    mailbox: str,
) -> None:
    """Its own report, on a recipient whom the next server refuses; what is sent there next fails at once."""
    await crm.owner(bounces, "replies", kind="queue")
    script = {"RCPT TO:<gone@": "550 5.1.1 user unknown"}
    async with ScriptedSmtp(script) as server:
        domain = postfix.domain_for(server.port)
        gone = f"gone@{domain}"
        email_id = await to_postfix(incoming(), pattern, 2, [gone])
        await crm.wait_for_emails(1, timeout=40)
        rows = await crm.rows("SELECT address, state, code FROM crm.delivery WHERE email_id = $1", email_id)
        assert {tuple(row) for row in rows} == {(gone, "refused", "5.1.1")}
        assert await found(crm) == [(email_id, "report")]
        assert await marks(crm) == [(gone, "bounced", "5.1.1")]
        again = await crm.send(mailbox, gone, "Offer", "Two hundred chairs.\n")
        email = await crm.wait_for_status(again, "failed")
        assert "bounced on 2" in email["status_reason"]
        assert "user unknown" in email["status_reason"]


async def test_postfix_reports_to_a_listener_that_takes_the_return_path(
    crm: Crm, to_postfix: Callable[..., Awaitable[UUID]], postfix: Postfix
) -> None:
    port = free_port()
    home = postfix.domain_for(port)
    queue = f"bounces@{home}"
    await crm.owner(queue, "replies", kind="queue")
    listener = f'[incoming.drop]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@{home}"]\ncopy = true\n'
    async with ScriptedSmtp({"RCPT TO:<gone@": "550 5.1.1 user unknown"}) as server:
        gone = f"gone@{postfix.domain_for(server.port)}"
        email_id = await to_postfix(listener, f"bounces-{{id}}@{home}", 0, [gone])
        await crm.wait_for_emails(1, timeout=40)
        assert await found(crm) == [(email_id, "report")]
        assert await marks(crm) == [(gone, "bounced", "5.1.1")]
        # Its envelope alone may tell: what a listener is handed has whatever To its writer likes.
        email_id = await crm.send(
            await crm.sql.fetchval("SELECT mailbox FROM crm.owner WHERE mailbox <> $1", queue),
            "ann@kunde.test",
            "Offer",
            "Chairs.\n",
        )
        await crm.wait_for_status(email_id, "sent")
        path = await path_of(crm, f"bounces-{{id}}@{home}", email_id)
        raw = report("postmaster@kunde.test", status("ann@kunde.test", "failed", "5.2.2"), NOTHING)

        def hand_over() -> None:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("", [path], raw)

        await asyncio.to_thread(hand_over)
        assert [state for state, _ in await states(crm, email_id)] == ["refused"]


async def test_a_forward_mailbox_brings_the_reports_of_the_queue_whose_mail_it_gets(
    crm: Crm,
    to_postfix: Callable[..., Awaitable[UUID]],
    incoming: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
    bounces: str,
    pattern: str,
    customers: list[str],
) -> None:
    sink = new_mailbox("sink")
    await crm.owner(bounces, "replies", kind="queue")
    profile = incoming(
        "sink",
        role="forward",
        owners=None,
        forwarders=["exchange@in.test"],
        authserv=AUTHSERV,
        auth={"user": sink, "password": {"env": "MAILBOX_PASSWORD"}},
    )
    email_id = await to_postfix(profile, pattern, 1, customers[:1])
    path = await path_of(crm, pattern, email_id)
    told = report(path, status(customers[0], "failed", "5.1.1"), NOTHING)
    wrapped = journal("MAILER-DAEMON@kunde.test", [f"To: {path}"], told)
    dovecot.deliver(sink, vouched(wrapped, "in.test"))
    await crm.wait_for_emails(1)
    assert [state for state, _ in await states(crm, email_id)] == ["refused"]
    assert await marks(crm) == [(customers[0], "bounced", "5.1.1")]


async def test_each_attempt_has_a_return_path_of_its_own_and_all_of_them_find_the_email(
    crm: Crm, database: str
) -> None:
    await crm.owner("ulla@example.com")
    script = {"RCPT": ["451 4.7.1 greylisted", "250 2.1.5 Ok"]}
    async with ScriptedSmtp(script, offers=("DSN",)) as server:
        profile = relay(server.port, return_path="bounces+{id}@example.com")
        async with sending(database, profile):
            email_id = await crm.send("ulla@example.com", "ann@kunde.test", "one")
            await crm.wait_for(1, "SELECT count(*) FROM router.outbox WHERE process_id IS NULL AND attempts = 1")
            await crm.admin.execute("UPDATE router.outbox SET next_at = now()")
            await crm.wait_for_status(email_id, "sent")
    ids = await crm.admin.fetch("SELECT id FROM router.attempt ORDER BY number")
    told = [line for connection in server.commands for line in connection if line.startswith(("MAIL", "RCPT"))]
    begun = [
        f"MAIL FROM:<{return_path('bounces+{id}@example.com', row['id'])}> RET=HDRS ENVID={email_id}" for row in ids
    ]
    named = "RCPT TO:<ann@kunde.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ann@kunde.test"
    assert told == [begun[0], named, begun[1], named]


async def test_the_relay_is_asked_whether_it_lets_us_send_with_the_return_path() -> None:
    async with ScriptedSmtp({"MAIL": "553 5.7.1 Sender address rejected"}) as server:
        profile = relay(server.port, return_path="bounces+{id}@example.com")
        found = [finding async for finding in profile.probe(["ulla@example.com", "otto@example.com"])]
    tried = [line for line in server.commands[0] if line.startswith("MAIL")]
    assert len(tried) == 1
    assert tried[0].startswith("MAIL FROM:<bounces+crm-")
    assert [one.state for one in found if "Sender address rejected" in one.words] == ["failed"]
