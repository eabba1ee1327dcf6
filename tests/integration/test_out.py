"""The way out, as a CRM developer sees it: an email set to pending send is received by Postfix, and told of."""

import asyncio
import hashlib
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from router.repository.database import Database
from router.repository.outgoing.sending import set_sending
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import DEFERRED, REFUSED, Delivered, Postfix
from tests.servers.tls import Tls
from tests.support.crm import Crm, Parcel
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

OUTBOX = "SELECT count(*) FROM router.outbox WHERE email_id = $1"
ATTEMPTS = "SELECT count(*) FROM router.attempt WHERE email_id = $1"

PICTURE = Parcel("Büro Plan.png", "image/png", bytes(range(256)) * 40)


@pytest.fixture
def other(mailbox: str) -> str:
    """An address of this test's own, whose mail Postfix keeps."""
    return mailbox.replace("@in.test", "@kunde.test")


def read(delivered: Delivered) -> EmailMessage:
    message = message_from_bytes(delivered.message, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


async def arrived(postfix: Postfix, count: int, address: str) -> list[Delivered]:
    return await asyncio.to_thread(postfix.wait_for, count, address)


@pytest.mark.parametrize("way", ["starttls", "smtps"])
async def test_an_email_of_the_crm_is_received_as_it_was_written(
    crm: Crm, new_router: NewRouter, outgoing: Profile, postfix: Postfix, mailbox: str, other: str, way: str
) -> None:
    auth = {"user": mailbox, "password": {"env": "MAILBOX_PASSWORD"}}
    tls: dict[str, Any] = {"security": "tls", "port": postfix.smtps, "auth": auth}
    profile = outgoing(**tls) if way == "smtps" else outgoing()
    owner = await crm.owner(mailbox, name="Ulla")
    await new_router(profile)
    email_id = await crm.send(
        f"Ulla Müller <{mailbox}>",
        [f"Jörg Käse <{other}>"],
        "Angebot für Köln ☀",
        "Größe: 5 m²\n",
        "<p>Größe: 5 m²</p>",
        cc=[f"cc-{other}"],
        bcc=[f"bcc-{other}"],
        attachments=[PICTURE],
    )
    email = await crm.wait_for_status(email_id, "sent")
    copies = await arrived(postfix, 1, other)
    assert {copy.sender for copy in copies} == {mailbox}
    assert {recipient for copy in copies for recipient in copy.recipients} == {
        other,
        f"cc-{other}",
        f"bcc-{other}",
    }
    message = read(copies[0])
    assert str(message["From"]) == f"Ulla Müller <{mailbox}>"
    assert str(message["To"]) == f"Jörg Käse <{other}>"
    assert str(message["Cc"]) == f"cc-{other}"
    assert b"bcc-" not in copies[0].message
    assert str(message["Subject"]) == f"Angebot für Köln ☀ CRM:{email['token']}"
    assert message["Message-ID"] == f"<{email['message_id']}>"
    assert message["Date"].datetime == email["dated_at"]
    assert message["In-Reply-To"] is message["References"] is None
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (text.get_content().strip(), html.get_content().strip()) == ("Größe: 5 m²", "<p>Größe: 5 m²</p>")
    [picture] = message.iter_attachments()
    assert (picture.get_filename(), picture.get_content_type()) == (PICTURE.filename, PICTURE.media_type)
    assert picture.get_content() == PICTURE.content

    assert (email["owner_id"], email["status_reason"]) == (owner, None)
    assert abs(email["sent_at"] - datetime.now(UTC)) < timedelta(minutes=5)
    deliveries = await crm.rows("SELECT address, state, code FROM crm.delivery ORDER BY address")
    assert [tuple(row) for row in deliveries] == [
        (address, "accepted", "2.0.0") for address in sorted([other, f"cc-{other}", f"bcc-{other}"])
    ]
    assert [row["kind"] for row in await crm.rows("SELECT kind FROM crm.events_after()")] == ["pending_send", "sent"]
    assert await crm.admin.fetchval("SELECT count(*) FROM router.outbox") == 0


# --- What the relay says ---------------------------------------------------------------------------------------------


async def test_a_refused_recipient_fails_the_email_in_the_servers_words(
    crm: Crm, new_router: NewRouter, outgoing: Profile, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(outgoing())
    email = await crm.wait_for_status(await crm.send(mailbox, f"refused-{other}", "Offer"), "failed")
    words = REFUSED.removeprefix("550 5.1.1 ")
    assert words in email["status_reason"]
    [delivery] = await crm.rows("SELECT * FROM crm.delivery")
    assert (delivery["address"], delivery["state"], delivery["code"]) == (f"refused-{other}", "refused", "5.1.1")
    assert words in delivery["text"]
    assert email["sent_at"] is None
    events = await crm.rows("SELECT kind FROM crm.events_after()")
    assert [row["kind"] for row in events] == ["pending_send", "failed", "refused"]


async def test_one_refused_of_three_is_told_and_the_others_get_it(
    crm: Crm, new_router: NewRouter, outgoing: Profile, postfix: Postfix, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(outgoing())
    email_id = await crm.send(mailbox, [other, f"refused-{other}", f"third-{other}"], "Offer")
    email = await crm.wait_for_status(email_id, "sent")
    assert f"refused-{other}" in email["status_reason"]
    assert REFUSED.removeprefix("550 5.1.1 ") in email["status_reason"]
    states = await crm.rows("SELECT address, state FROM crm.delivery")
    assert {row["address"]: row["state"] for row in states} == {
        other: "accepted",
        f"refused-{other}": "refused",
        f"third-{other}": "accepted",
    }
    await arrived(postfix, 1, other)
    await arrived(postfix, 1, f"third-{other}")


async def test_a_deferred_recipient_is_tried_again_later_and_the_others_are_not_bothered(
    crm: Crm, new_router: NewRouter, outgoing: Profile, postfix: Postfix, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(outgoing())
    email_id = await crm.send(mailbox, [other, f"deferred-{other}"], "Offer")
    await crm.wait_for(1, "SELECT count(*) FROM crm.delivery WHERE email_id = $1 AND state = 'deferred'", email_id)
    email = await crm.email(email_id)
    assert email["status"] == "pending_send"
    words = DEFERRED.removeprefix("450 4.2.1 ")
    assert words in email["status_reason"]
    waiting = await crm.admin.fetchrow("SELECT *, next_at - now() AS pause FROM router.outbox")
    assert waiting is not None
    assert timedelta(seconds=30) < waiting["pause"] < timedelta(seconds=90)
    assert (waiting["attempts"], waiting["process_id"]) == (1, None)

    # Its time has come: only the one that was deferred is asked again.
    await crm.admin.execute("UPDATE router.outbox SET next_at = now()")
    await crm.wait_for(2, ATTEMPTS, email_id)
    await crm.wait_for(1, "SELECT count(*) FROM router.outbox WHERE attempts = 2 AND process_id IS NULL")
    assert len(await arrived(postfix, 1, other)) == 1
    states = await crm.rows("SELECT address, state FROM crm.delivery")
    assert {row["address"]: row["state"] for row in states} == {other: "accepted", f"deferred-{other}": "deferred"}


@pytest.fixture
def own_postfix(tls: Tls, dovecot: Dovecot) -> Iterator[Postfix]:
    """One to be stopped."""
    server = Postfix(tls, dovecot)
    yield server
    server.close()


async def test_while_the_relay_is_down_email_waits(
    crm: Crm, new_router: NewRouter, outgoing: Profile, own_postfix: Postfix, mailbox: str, other: str
) -> None:
    own_postfix.stop()
    await crm.owner(mailbox)
    await new_router(outgoing(port=own_postfix.smtp))
    email_id = await crm.send(mailbox, other, "Offer")
    await crm.wait_for(
        True,
        "SELECT status = 'pending_send' AND status_reason IS NOT NULL FROM crm.email WHERE id = $1",
        email_id,
    )
    email = await crm.email(email_id)
    assert f"127.0.0.1:{own_postfix.smtp}" in email["status_reason"]
    assert await crm.admin.fetchval("SELECT fault FROM router.relay WHERE profile = 'relay'") == email["status_reason"]
    await asyncio.to_thread(own_postfix.start)
    email = await crm.wait_for_status(email_id, "sent")
    assert email["status_reason"] is None
    assert await crm.admin.fetchval("SELECT count(*) FROM router.relay") == 0
    # Only what the relay heard of counts as an attempt.
    assert await crm.admin.fetchval(ATTEMPTS, email_id) == 1
    assert len(await arrived(own_postfix, 1, other)) == 1


# --- What must not be sent -------------------------------------------------------------------------------------------


async def test_nothing_is_sent_or_fetched_for_an_owner_whom_nobody_approved(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    postfix: Postfix,
    dovecot: Dovecot,
    mailbox: str,
    other: str,
) -> None:
    """T15."""
    approved = f"approved-{mailbox}"
    await crm.owner(mailbox, "all", approved=False)
    await crm.owner(approved, "all")
    dovecot.deliver(mailbox, letter("a@kunde.test", mailbox))
    pending = await crm.send(mailbox, other, "Offer")
    await new_router(incoming(start="all") + outgoing())
    await crm.wait_for_sources(1)
    await crm.wait_for_status(await crm.send(approved, other, "Offer"), "sent")
    assert (await crm.email(pending))["status"] == "pending_send"
    assert await crm.admin.fetchval(ATTEMPTS, pending) == 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.source WHERE mailbox = $1", mailbox) == 0
    assert f"Login: user=<{approved}>" in dovecot.log()
    assert f"Login: user=<{mailbox}>" not in dovecot.log()

    await crm.admin.execute("UPDATE crm.owner SET approved = true WHERE mailbox = $1", mailbox)
    await crm.wait_for_status(pending, "sent")
    await crm.wait_for_emails(1)
    assert {copy.sender for copy in await arrived(postfix, 2, other)} == {mailbox, approved}


async def test_a_pending_email_can_be_taken_back(
    crm: Crm, new_router: NewRouter, outgoing: Profile, postfix: Postfix, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(outgoing())
    later = datetime.now(UTC) + timedelta(hours=1)
    canceled, redrafted = [await crm.draft(mailbox, f"never-{other}", "Offer") for _ in range(2)]
    for email_id in (canceled, redrafted):
        await crm.sql.execute("UPDATE crm.email SET send_after = $2 WHERE id = $1", email_id, later)
        await crm.move(email_id, "pending_send")
    assert await crm.admin.fetchval(OUTBOX, canceled) == 1
    await crm.move(canceled, "canceled")
    await crm.move(redrafted, "draft")
    await crm.wait_for_status(await crm.send(mailbox, other, "Offer"), "sent")
    assert await crm.admin.fetchval("SELECT count(*) FROM router.outbox") == 0
    assert (await crm.email(canceled))["status"] == "canceled"

    await crm.sql.execute("UPDATE crm.email SET send_after = NULL, subject = 'Better offer' WHERE id = $1", redrafted)
    await crm.move(redrafted, "pending_send")
    await crm.wait_for_status(redrafted, "sent")
    [copy] = await arrived(postfix, 1, f"never-{other}")
    assert "Better offer" in str(read(copy)["Subject"])


async def test_send_after_is_waited_for(
    crm: Crm, new_router: NewRouter, outgoing: Profile, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(outgoing())
    email_id = await crm.draft(mailbox, other, "Offer")
    await crm.sql.execute("UPDATE crm.email SET send_after = now() + interval '1 s' WHERE id = $1", email_id)
    await crm.move(email_id, "pending_send")
    email = await crm.wait_for_status(email_id, "sent")
    assert email["sent_at"] >= email["send_after"]


async def test_sending_is_stopped_and_started(
    crm: Crm, new_router: NewRouter, outgoing: Profile, database: str, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(outgoing())
    async with Database(database, 1) as admin:
        await set_sending(admin, on=False, reason="a test")
        await stays_pending_until_started(crm, admin, mailbox, other)


async def test_a_restored_database_does_not_send(
    crm: Crm, new_router: NewRouter, outgoing: Profile, database: str, mailbox: str, other: str
) -> None:
    await crm.admin.execute("UPDATE router.installation SET system_identifier = system_identifier - 1")
    await crm.owner(mailbox)
    await new_router(outgoing())
    async with Database(database, 1) as admin:
        await stays_pending_until_started(crm, admin, mailbox, other)


async def stays_pending_until_started(crm: Crm, admin: Database, mailbox: str, other: str) -> UUID:
    email_id = await crm.send(mailbox, other, "Offer")
    await crm.wait_for_beats(3)
    assert (await crm.email(email_id))["status"] == "pending_send"
    await set_sending(admin, on=True)
    await crm.wait_for_status(email_id, "sent")
    early = "SELECT count(*) FROM router.attempt AS a, router.installation AS i WHERE a.claimed_at < i.changed_at"
    assert await crm.admin.fetchval(early) == 0
    return email_id


# --- An orderly stop -------------------------------------------------------------------------------------------------


async def test_a_stop_in_the_midst_of_sending_leaves_nothing_undecided(
    crm: Crm, new_router: NewRouter, outgoing: Profile, postfix: Postfix, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    drafts = [await crm.draft(mailbox, other, f"offer {number}") for number in range(100)]
    router = await new_router(outgoing())
    await crm.sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = ANY($1)", drafts)
    await crm.wait_for(True, "SELECT count(*) > 5 FROM crm.email WHERE status = 'sent'")
    await router.stop()
    rows = await crm.rows("SELECT status, count(*) FROM crm.email GROUP BY status")
    assert {row["status"] for row in rows} <= {"sent", "pending_send"}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.outbox WHERE process_id IS NOT NULL") == 0
    await router.start()
    await crm.wait_for(100, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
    subjects = [str(read(copy)["Subject"]).rpartition(" CRM:")[0] for copy in await arrived(postfix, 100, other)]
    assert sorted(subjects) == sorted(f"offer {number}" for number in range(100))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not zlib", "the attachment w.bin is not zlib, as its encoding says"),
        (zlib.compress(b"cut off" * 100)[:-9], "the attachment w.bin is not zlib to its end"),
        (zlib.compress(bytes(200 << 20)), "its attachments are more than 100 MB"),
    ],
)
async def test_an_attachment_that_cannot_be_decoded_fails_its_own_email_alone(
    crm: Crm,
    new_router: NewRouter,
    outgoing: Profile,
    postfix: Postfix,
    mailbox: str,
    other: str,
    content: bytes,
    words: str,
) -> None:
    await crm.owner(mailbox)
    bad = await crm.draft(mailbox, other, "bad")
    digest = hashlib.sha256(content).digest()
    await crm.sql.execute("INSERT INTO crm.blob (sha256, encoding, content) VALUES ($1, 'zlib', $2)", digest, content)
    await crm.sql.execute(
        "INSERT INTO crm.attachment (email_id, position, filename, size, sha256) VALUES ($1, 0, 'w.bin', 5, $2)",
        bad,
        digest,
    )
    good = await crm.draft(mailbox, other, "good")
    for email in (bad, good):
        await crm.move(email, "pending_send")
    await new_router(outgoing())
    await crm.wait_for_status(good, "sent")
    await crm.wait_for_status(bad, "failed")
    assert words in (await crm.email(bad))["status_reason"]
    assert len(await arrived(postfix, 1, other)) == 1
