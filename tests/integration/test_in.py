"""The way in, as its users see it: mail delivered into Dovecot is in the CRM."""

import asyncio
import imaplib
import smtplib
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy
from tests.support.crm import Crm, Parcel
from tests.support.letters import letter
from tests.support.profiles import MASTER, Profile
from tests.support.router_process import NewRouter

PICTURE = Parcel("Büro Plan.png", "image/png", bytes(range(256)) * 40)
NOTES = Parcel("notes.txt", "text/plain", b"again and again\n" * 400)


@pytest.mark.parametrize("way", ["tls", "starttls"])
async def test_a_delivered_message_is_in_the_crm(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, way: str
) -> None:
    owner = await crm.owner(mailbox, "known")
    contact = await crm.record("contact", "Jörg Müller", "joerg@kunde.test")
    keys: dict[str, dict[str, Any]] = {
        "tls": {},
        "starttls": {"security": "starttls", "port": dovecot.imap, "auth": MASTER},
    }
    await new_router(incoming(**keys[way]))
    await crm.wait_for_sources(1)
    sent = letter(
        '"Jörg Müller" <Joerg@Kunde.test>',
        f"{mailbox}, stranger@other.test",
        "Grüße aus Köln ☀",
        "Größe: 5 m²\n",
        html="<p>Größe: 5&nbsp;m²</p>",
        attachments=[PICTURE, NOTES],
        Cc="Karl <karl@kunde.test>",
        Message_ID="<one@kunde.test>",
        Date="Fri, 20 Nov 2026 10:00:00 +0100",
    )
    began = time.monotonic()
    dovecot.deliver(mailbox, sent)
    await crm.wait_for_emails(1)
    sys.stdout.write(f"from delivery to the row: {time.monotonic() - began:.3f} s\n")

    [email] = await crm.rows("SELECT * FROM crm.email")
    assert (email["direction"], email["status"], email["owner_id"]) == ("in", "received", owner)
    assert (email["subject"], email["text_body"].strip()) == ("Grüße aus Köln ☀", "Größe: 5 m²")
    assert "<p>Größe" in email["html_body"]
    assert email["message_id"] == "one@kunde.test"
    assert email["dated_at"] == datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    assert abs(email["received_at"] - datetime.now(UTC)) < timedelta(minutes=5)
    parties = await crm.rows("SELECT role, address, name, record_id FROM crm.party ORDER BY role, position")
    assert [tuple(party) for party in parties] == [
        ("cc", "karl@kunde.test", "Karl", None),
        ("from", "joerg@kunde.test", "Jörg Müller", contact),
        ("to", mailbox, "", owner),
        ("to", "stranger@other.test", "", None),
    ]
    [receipt] = await crm.rows("SELECT * FROM crm.receipt")
    assert (receipt["email_id"], receipt["owner_id"]) == (email["id"], owner)
    assert (receipt["profile"], receipt["folder"]) == ("staff", "INBOX")
    attachments = await crm.rows(
        "SELECT a.*, b.encoding, b.content FROM crm.attachment AS a JOIN crm.blob AS b USING (sha256) ORDER BY position"
    )
    assert [(row["filename"], row["media_type"], row["size"]) for row in attachments] == [
        (parcel.filename, parcel.media_type, len(parcel.content)) for parcel in (PICTURE, NOTES)
    ]
    assert [
        zlib.decompress(row["content"]) if row["encoding"] == "zlib" else row["content"] for row in attachments
    ] == [PICTURE.content, NOTES.content]
    [decision] = await crm.admin.fetch("SELECT * FROM router.decision")
    assert (decision["disposition"], decision["rule"], decision["email_id"]) == ("promoted", "known", email["id"])
    assert "the sender is a contact, lead or account" in decision["reasons"]
    assert [row["kind"] for row in await crm.rows("SELECT kind FROM crm.events_after()")] == ["promoted"]


async def test_keep_leaves_mail_unseen_and_seen_marks_what_was_promoted(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: Any
) -> None:
    kept, marked = new_mailbox("kept"), new_mailbox("marked")
    for mailbox in (kept, marked):
        await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(incoming("kept", owners=[kept]) + incoming("marked", owners=[marked], after="seen"))
    await crm.wait_for_sources(2)
    for mailbox in (kept, marked):
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox))
        dovecot.deliver(mailbox, letter("friend@home.test", mailbox, "private"))
    await crm.wait_for_decisions(4)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert await crm.dispositions() == {"promoted": 2, "ignored": 2}
    assert list(dovecot.flags(kept).values()) == [set(), set()]
    assert list(dovecot.flags(marked).values()) == [{"\\Seen"}, set()]


async def test_latency_at_rest_and_in_a_conversation(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(incoming())
    await crm.wait_for_sources(1)
    for number in range(1, 6):
        began = time.monotonic()
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, f"number {number}"))
        await crm.wait_for_emails(number)
        sys.stdout.write(f"message {number}, from delivery to the row: {time.monotonic() - began:.3f} s\n")


# --- Where a source begins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "subjects"),
    [("now", ["new"]), ("all", ["ancient", "old", "new"]), ("date", ["old", "new"])],
)
async def test_what_was_there_before_is_judged_only_if_the_profile_says_so(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    start: str,
    subjects: list[str],
) -> None:
    today = datetime.now(UTC)
    put(dovecot, mailbox, "ancient", today - timedelta(days=400))
    put(dovecot, mailbox, "old", today - timedelta(days=20))
    since = (today - timedelta(days=30)).date().isoformat()
    profile = incoming(start=since if start == "date" else start)
    await crm.owner(mailbox, "all")
    # A date is not quoted in TOML.
    await new_router(profile.replace(f'"{since}"', since))
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter("a@out.test", mailbox, "new"))
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE subject = 'new'")
    emails = await crm.rows("SELECT subject FROM crm.email ORDER BY received_at")
    assert [email["subject"] for email in emails] == subjects
    # What is not judged leaves nothing at all.
    assert await crm.dispositions() == {"promoted": len(subjects)}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.message") == len(subjects)


async def test_old_mail_that_is_moved_in_is_not_judged_but_a_mail_servers_slow_clock_is_forgiven(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(incoming())
    await crm.wait_for_sources(1)
    put(dovecot, mailbox, "moved in", datetime.now(UTC) - timedelta(days=400))
    put(dovecot, mailbox, "slow", datetime.now(UTC) - timedelta(minutes=3))
    put(dovecot, mailbox, "in another zone", datetime.now(UTC) - timedelta(hours=14))
    put(dovecot, mailbox, "moved in, too", datetime.now(UTC) - timedelta(days=3))
    put(dovecot, mailbox, "last", datetime.now(UTC))
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE subject = 'last'")
    rows = await crm.rows("SELECT subject FROM crm.email ORDER BY received_at")
    assert [row["subject"] for row in rows] == ["in another zone", "slow", "last"]
    assert await crm.dispositions() == {"promoted": 3}


async def test_a_folder_that_was_made_anew_is_promoted_once(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    """Restored from a backup: another UIDVALIDITY, the same mail."""
    with dovecot.connect(mailbox) as imap:
        imap.create("Work")
    put(dovecot, mailbox, "before the start", datetime.now(UTC) - timedelta(days=20), "Work")
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    router = await new_router(incoming(folders=["Work"]))
    await crm.wait_for_sources(1)
    dovecot.append(mailbox, letter("karl@kunde.test", mailbox, "wanted"), "Work")
    dovecot.append(mailbox, letter("friend@home.test", mailbox, "private"), "Work")
    await crm.wait_for_decisions(2)
    await router.stop()
    remake(dovecot, mailbox, "Work")
    await router.start()
    dovecot.append(mailbox, letter("karl@kunde.test", mailbox, "later"), "Work")
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE subject = 'later'")

    emails = await crm.rows("SELECT subject FROM crm.email ORDER BY received_at, subject DESC")
    assert [email["subject"] for email in emails] == ["wanted", "later"]
    assert len(await crm.rows("SELECT * FROM crm.receipt")) == 2
    assert await crm.dispositions() == {"promoted": 2, "duplicate": 1, "ignored": 2}
    assert await crm.admin.fetchval("SELECT count(DISTINCT validity) FROM router.decision") == 2


def put(dovecot: Dovecot, mailbox: str, subject: str, at: datetime, folder: str = "INBOX") -> None:
    """Put a message there that arrived at another time."""
    with dovecot.connect(mailbox) as imap:
        date = imaplib.Time2Internaldate(at)
        assert imap.append(folder, "", date, letter("a@out.test", mailbox, subject))[0] == "OK"


def remake(dovecot: Dovecot, mailbox: str, folder: str) -> None:
    """Delete a folder and restore it, with the same messages of the same dates."""
    messages = dovecot.messages(mailbox, folder)
    with dovecot.connect(mailbox) as imap:
        imap.select(folder)
        dates = [imap.uid("FETCH", str(uid), "(INTERNALDATE)")[1][0].decode().split('"')[1] for uid in messages]
        imap.close()
        assert imap.delete(folder)[0] == "OK"
        assert imap.create(folder)[0] == "OK"
        for message, date in zip(messages.values(), dates, strict=True):
            assert imap.append(folder, "", f'"{date}"', message)[0] == "OK"


# --- Faults ----------------------------------------------------------------------------------------------------------


async def test_a_mailbox_that_cannot_be_read_disturbs_no_other_and_recovers_by_itself(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: Any
) -> None:
    broken, refused, sound = new_mailbox("broken"), new_mailbox("refused"), new_mailbox("sound")
    for mailbox in (broken, refused, sound):
        await crm.owner(mailbox, "all")
    fault = "SELECT fault FROM router.source WHERE mailbox = $1"
    async with Proxy(dovecot.imaps) as proxy:
        proxy.refusing = True
        await new_router(
            incoming("broken", owners=[broken], port=proxy.port)
            + incoming("refused", owners=[refused], auth=MASTER)
            + incoming("sound"),
            MASTER_PASSWORD="not-the-password",
        )
        await crm.wait_for(2, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
        await crm.wait_for_sources(1)
        dovecot.deliver(sound, letter("karl@kunde.test", sound, "through"))
        await crm.wait_for_emails(1)
        assert f"127.0.0.1:{proxy.port}" in await crm.admin.fetchval(fault, broken)
        words = await crm.admin.fetchval(fault, refused)
        assert "Authentication failed" in words
        assert "not-the-password" not in words

        proxy.refusing = False
        await crm.wait_for_sources(2)
        dovecot.deliver(broken, letter("karl@kunde.test", broken, "back again"))
        await crm.wait_for_emails(2)
        assert await crm.admin.fetchval(fault, broken) is None

        # What comes while the connection is lost is not the past.
        proxy.refusing = True
        proxy.cut()
        await crm.wait_for(False, "SELECT fault IS NULL FROM router.source WHERE mailbox = $1", broken)
        dovecot.deliver(broken, letter("karl@kunde.test", broken, "meanwhile"))
        proxy.refusing = False
        await crm.wait_for_emails(3)


async def test_an_owner_whose_approval_is_taken_back_is_not_read_any_more(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    owner = await crm.owner(mailbox, "all")
    await new_router(incoming())
    await crm.wait_for_sources(1)
    await crm.admin.execute("UPDATE crm.owner SET approved = false WHERE record_id = $1", owner)
    await crm.wait_for_sources(0)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "between"))
    await crm.wait_for_beats(3)
    assert await crm.dispositions() == {}
    await crm.admin.execute("UPDATE crm.owner SET approved = true WHERE record_id = $1", owner)
    await crm.wait_for_emails(1)


# --- A listener ------------------------------------------------------------------------------------------------------


async def test_what_a_mail_server_hands_over_is_in_the_crm_once_it_is_answered(crm: Crm, new_router: NewRouter) -> None:
    port = free_port()
    ulla, otto = [await crm.owner(f"{name}@in.test", "known") for name in ("ulla", "otto")]
    await crm.owner("private@in.test", "none")
    await crm.owner("waiting@in.test", "all", approved=False)
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(
        f'[incoming.copies]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n',
        says=(r"\blistening\b",),
    )
    recipients = [f"{name}@in.test" for name in ("ulla", "otto", "private", "waiting", "nobody")]

    def hand_over() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            message = letter("karl@kunde.test", "list@kunde.test", attachments=[NOTES])
            return smtp.sendmail("bounces@kunde.test", recipients, message)

    turned_away = await asyncio.to_thread(hand_over)
    assert {address: reply[0] for address, reply in turned_away.items()} == {
        "waiting@in.test": 450,
        "nobody@in.test": 550,
    }
    # No waiting: 250 was the promise.
    assert len(await crm.rows("SELECT * FROM crm.email")) == 1
    receipts = await crm.rows("SELECT owner_id FROM crm.receipt")
    assert {row["owner_id"] for row in receipts} == {ulla, otto}
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 1, "ignored": 1}


async def test_what_is_promoted_is_deleted_days_later(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(incoming(after="delete:14d", poll=1))
    await crm.wait_for_sources(1)
    for sender in ("karl@kunde.test", "stranger@other.test"):
        dovecot.deliver(mailbox, letter(sender, mailbox, sender))
    await crm.wait_for(2, "SELECT count(*) FROM router.decision")
    await crm.admin.execute("UPDATE router.decision SET decided_at = decided_at - interval '13 days'")
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "later"))
    await crm.wait_for_emails(2)
    assert dovecot.count(mailbox) == 3

    await crm.admin.execute("UPDATE router.decision SET decided_at = decided_at - interval '1 day'")
    settled = "SELECT count(*) FROM router.decision WHERE email_id IS NOT NULL AND settled_at IS NOT NULL"
    await crm.wait_for(1, settled)
    left = [message for message in dovecot.messages(mailbox).values() if b"karl" in message]
    assert [b"Subject: later" in message for message in left] == [True]
    assert dovecot.count(mailbox) == 2
