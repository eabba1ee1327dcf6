"""The way in, as its users see it: mail delivered into Dovecot is in the CRM."""

import imaplib
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.crm import Crm, Parcel
from tests.letters import letter
from tests.profiles import MASTER, Profile
from tests.router_process import NewRouter
from tests.servers.dovecot import Dovecot

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
