"""What mail systems report later is written onto the email that was sent, recipient by recipient."""

import asyncio
from uuid import UUID

import pytest

from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter, new_id
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

THREE = ("ann", "bob", "eve")


@pytest.fixture
async def offer(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, mailbox: str, customers: list[str]
) -> UUID:
    """An email that was sent to three recipients."""
    await crm.owner(mailbox, "replies")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    email_id = await crm.send(mailbox, customers, "Offer", "Two hundred chairs.\n")
    await crm.wait_for_status(email_id, "sent")
    return email_id


@pytest.fixture
def customers(mailbox: str) -> list[str]:
    return [mailbox.replace("@in.test", f".{name}@kunde.test") for name in THREE]


async def states(crm: Crm, offer: UUID) -> list[tuple[str, str]]:
    rows = await crm.rows("SELECT state, code FROM crm.delivery WHERE email_id = $1 ORDER BY address", offer)
    return [(row["state"], row["code"]) for row in rows]


def report(
    mailbox: str, fields: str, original: str, kind: str = "delivery-status", part: str = "message/delivery-status"
) -> bytes:
    parts = ["\nIt is so.", f"Content-Type: {part}\n\n{fields}", f"Content-Type: text/rfc822-headers\n\n{original}"]
    head = (
        f"From: MAILER-DAEMON@kunde.test\nTo: {mailbox}\nSubject: Delivery Status Notification\n"
        f"Message-ID: {new_id()}\nDate: Sat, 21 Nov 2026 00:59:00 +0000\n"
        f"Content-Type: multipart/report; report-type={kind}; boundary=x\n"
    )
    body = "".join(f"\n--x\n{one}\n" for one in parts)
    return f"{head}{body}--x--\n".replace("\n", "\r\n").encode()


def status(recipient: str, action: str, code: str) -> str:
    return (
        f"Reporting-MTA: dns; kunde.test\n\nFinal-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {code}\n"
        f"Diagnostic-Code: smtp; 550 {code} so it is\n"
    )


async def test_t71_t74_each_report_changes_its_recipient_and_no_other(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    before = await states(crm, offer)
    assert [state for state, _ in before] == ["accepted"] * 3
    original = f"Message-ID: <{(await crm.email(offer))['message_id']}>\n"

    dovecot.deliver(mailbox, report(mailbox, status(customers[0], "delayed", "4.4.1"), original))
    await crm.wait_for_emails(1)
    assert await states(crm, offer) == [("delayed", "4.4.1"), *before[1:]]
    assert (await crm.email(offer))["status"] == "sent"

    dovecot.deliver(mailbox, report(mailbox, status(customers[0], "failed", "5.1.1"), original))
    await crm.wait_for_emails(2)
    assert await states(crm, offer) == [("refused", "5.1.1"), *before[1:]]

    # A delay that comes late, and what is told of somebody else, change nothing.
    dovecot.deliver(mailbox, report(mailbox, status(customers[0], "delayed", "4.4.1"), original))
    dovecot.deliver(mailbox, report(mailbox, status("stranger@kunde.test", "failed", "5.1.1"), original))
    await crm.wait_for_emails(4)
    assert await states(crm, offer) == [("refused", "5.1.1"), *before[1:]]
    assert (await crm.email(offer))["status"] == "sent"

    rows = await crm.rows("SELECT correlated_id, correlation_method, flags FROM crm.email WHERE direction = 'in'")
    assert {(row["correlated_id"], row["correlation_method"]) for row in rows} == {(offer, "report")}
    assert sorted(row["flags"] for row in rows) == [["automatic", "bounce"]] * 2 + [["automatic", "delay"]] * 2
    [words] = await crm.rows("SELECT text FROM crm.delivery WHERE email_id = $1 AND state = 'refused'", offer)
    assert words["text"] == "550 5.1.1 so it is"
    events = await crm.rows("SELECT kind, details FROM crm.event WHERE email_id = $1 AND details ? 'address'", offer)
    assert [row["kind"] for row in events] == ["delayed", "refused"]


async def test_t71_a_lone_recipient_is_meant_whatever_the_address_became(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    alone = await crm.send(mailbox, customers[0], "Chair", "One chair.\n")
    await crm.wait_for_status(alone, "sent")
    original = f"Message-ID: <{(await crm.email(alone))['message_id']}>\n"
    dovecot.deliver(mailbox, report(mailbox, status("local@relay.test", "failed", "5.2.2"), original))
    await crm.wait_for_emails(1)
    assert await states(crm, alone) == [("refused", "5.2.2")]
    assert [state for state, _ in await states(crm, offer)] == ["accepted"] * 3


async def test_t71_a_bounce_of_an_email_that_the_crm_imported_is_written_onto_it(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    imported = await crm.sql.fetchval(
        "INSERT INTO crm.email (direction, status, message_id) VALUES ('out', 'sent', 'crm1@example.com') RETURNING id"
    )
    for customer in customers:
        await crm.admin.execute(
            "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'to', $2)", imported, customer
        )
    before = await states(crm, offer)
    dovecot.deliver(
        mailbox, report(mailbox, status(customers[0], "failed", "5.1.1"), "Message-ID: <crm1@example.com>\n")
    )
    await crm.wait_for_emails(1)
    assert await states(crm, imported) == [("refused", "5.1.1")]
    assert await states(crm, offer) == before


async def test_t71_a_bounce_that_a_person_forwards_changes_nothing_and_is_not_lost(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    before = await states(crm, offer)
    original = f"Message-ID: <{(await crm.email(offer))['message_id']}>\n"
    bounce = report(mailbox, status(customers[0], "failed", "5.1.1"), original)
    forward = (
        bounce.replace(b"MAILER-DAEMON@kunde.test", customers[1].encode())
        .replace(b"Subject: ", b"Subject: Fwd: ")
        .replace(b"multipart/report; report-type=delivery-status", b"multipart/mixed")
    )
    dovecot.deliver(mailbox, forward)
    await crm.wait_for_emails(1)
    assert await states(crm, offer) == before
    [email] = await crm.rows("SELECT flags, correlated_id FROM crm.email WHERE direction = 'in'")
    assert (email["flags"], email["correlated_id"]) == ([], None)


async def test_t70_a_read_receipt_belongs_to_the_email_that_was_read(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    told = f"Final-Recipient: rfc822;a@b.test\nOriginal-Message-ID: <{(await crm.email(offer))['message_id']}>\n"
    kind = "disposition-notification"
    receipt = report(mailbox, told, "Subject: Offer\n", kind, f"message/{kind}")
    dovecot.deliver(mailbox, receipt.replace(b"MAILER-DAEMON@kunde.test", customers[0].encode()))
    await crm.wait_for_emails(1)
    [email] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert (email["correlated_id"], email["correlation_method"], email["flags"]) == (
        offer,
        "read-receipt",
        ["automatic"],
    )


async def test_t73_t70_backscatter_is_ignored_and_an_out_of_office_is_automatic(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    before = await states(crm, offer)
    dovecot.deliver(mailbox, report(mailbox, status(customers[0], "failed", "5.1.1"), "Message-ID: <a@b.test>\n"))
    ours = f"<{(await crm.email(offer))['message_id']}>"
    away = letter(customers[1], mailbox, "Automatic reply: Offer", In_Reply_To=ours, Auto_Submitted="auto-replied")
    dovecot.deliver(mailbox, away)
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"ignored": 1, "promoted": 1}
    assert await states(crm, offer) == before
    [email] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert (email["correlated_id"], email["flags"]) == (offer, ["automatic"])


async def test_t75_a_complaint_is_recorded_and_marks_the_address(
    crm: Crm, offer: UUID, dovecot: Dovecot, mailbox: str, customers: list[str]
) -> None:
    before = await states(crm, offer)
    original = f"To: {customers[2]}\nMessage-ID: <{(await crm.email(offer))['message_id']}>\n"
    complaint = report(
        mailbox, "Feedback-Type: abuse\nVersion: 1\n", original, "feedback-report", "message/feedback-report"
    )
    dovecot.deliver(mailbox, complaint)
    await crm.wait_for_emails(1)
    rows = await crm.rows("SELECT email_id, address, kind FROM crm.complaint")
    assert [tuple(row) for row in rows] == [(offer, customers[2], "abuse")]
    assert await states(crm, offer) == before


async def test_t80_an_invitation_holds_what_it_invites_to(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    event = "UID:1\nDTSTART:20261201T090000Z\nDTEND:20261201T100000Z\nORGANIZER:mailto:ann@kunde.test\n"
    text = f"BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\n{event}END:VEVENT\nEND:VCALENDAR\n"
    raw = letter("ann@kunde.test", mailbox, "Chairs", text)
    await asyncio.to_thread(dovecot.deliver, mailbox, raw.replace(b"text/plain", b"text/calendar"))
    await new_router(incoming(start="all"))
    await crm.wait_for_emails(1)
    [found] = await crm.rows(
        "SELECT calendar ->> 'method', calendar ->> 'uid', calendar ->> 'start', calendar ->> 'end', "
        "calendar ->> 'organizer' FROM crm.email WHERE direction = 'in'"
    )
    assert tuple(found) == ("request", "1", "2026-12-01T09:00:00+00:00", "2026-12-01T10:00:00+00:00", "ann@kunde.test")
