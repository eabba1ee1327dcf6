"""What the CRM sent lies in its owner's Sent folder, once, and sending never waits for that."""

import asyncio
import hashlib
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import pytest

from router.outgoing.sent_folder import sent_folder_has
from router.profile import read_folder
from router.repository.database import Database
from router.repository.outgoing.sending import set_sending
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.support.crm import Crm, Parcel
from tests.support.maildirs import make_maildir
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

APPENDED = "SELECT appended_at IS NOT NULL FROM router.sent_copy WHERE email_id = $1"
WANTED = "SELECT count(*) FROM router.sent_folder WHERE profile IS NOT NULL"
PICTURE = Parcel("plan.png", "image/png", bytes(range(256)) * 40)
LARGE = Parcel("large.bin", "application/octet-stream", hashlib.shake_256(b"large").digest(1_000_000))


@pytest.fixture
def other(mailbox: str) -> str:
    """An address of this test's own, whose mail Postfix keeps."""
    return mailbox.replace("@in.test", "@kunde.test")


def sent(dovecot: Dovecot, mailbox: str) -> list[EmailMessage]:
    messages = dovecot.messages(mailbox, "Sent")
    read = [message_from_bytes(messages[uid], policy=policy.default) for uid in sorted(messages)]
    assert all(isinstance(one, EmailMessage) for one in read)
    return read


async def words(crm: Crm, email_id: UUID) -> str | None:
    fault: str | None = await crm.admin.fetchval("SELECT fault FROM router.sent_copy WHERE email_id = $1", email_id)
    return fault


async def test_t18_a_copy_with_bcc_lies_in_the_sent_folder_and_is_a_duplicate_with_a_receipt(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, postfix: Postfix,
    mailbox: str, other: str,
) -> None:  # fmt: skip
    owner = await crm.owner(mailbox, "all")
    await new_router(incoming(folders=["INBOX", "Sent"], sent=True) + outgoing())
    await crm.wait_for_sources(2)
    await crm.wait_for(1, WANTED)
    blind = other.replace("@", ".blind@")
    email_id = await crm.send(
        f"Ulla <{mailbox}>", other, "Angebot für Köln", "Größe\n", bcc=[blind], attachments=[PICTURE, LARGE]
    )
    await crm.wait_for_status(email_id, "sent")
    await crm.wait_for(True, APPENDED, email_id)
    [copy] = sent(dovecot, mailbox)
    email = await crm.email(email_id)
    [delivered] = await asyncio.to_thread(postfix.wait_for, 1, other)
    at_relay = message_from_bytes(delivered.message, policy=policy.default)
    assert copy["Message-ID"] == at_relay["Message-ID"] == f"<{email['message_id']}>"
    assert copy["Date"] == at_relay["Date"]
    assert copy["Subject"] == at_relay["Subject"]
    assert copy["Bcc"] == blind
    assert at_relay["Bcc"] is None
    assert [part.get_content() for part in copy.iter_attachments()] == [PICTURE.content, LARGE.content]
    assert "\\Seen" in next(iter(dovecot.flags(mailbox, "Sent").values()))

    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"duplicate": 1}
    [receipt] = await crm.rows("SELECT email_id, owner_id FROM crm.receipt")
    assert tuple(receipt) == (email_id, owner)
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 1


@pytest.mark.parametrize("says", ["server", "none"])
async def test_none_is_put_there_where_the_server_does_it_or_nobody_shall(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, says: str
) -> None:
    queue = mailbox.replace("@", "-queue@")
    await crm.owner(mailbox)
    await crm.owner(queue, kind="queue")
    # Of the other owner copies are made, by the same processes.
    profiles = incoming() + outgoing(sent_copy=says, senders=[mailbox]) + outgoing("more", senders=["*@in.test"])
    await new_router(profiles)
    await crm.wait_for(1, WANTED)
    without = await crm.send(mailbox, queue, "by the server")
    await crm.wait_for_status(without, "sent")
    shared = await crm.send(queue, mailbox, "of a shared mailbox")
    await crm.wait_for(True, APPENDED, shared)
    assert [copy["Message-ID"].partition("@")[0][1:] for copy in sent(dovecot, queue)] == [str(shared)]
    assert sent(dovecot, mailbox) == []
    assert await crm.admin.fetchval("SELECT count(*) FROM router.sent_copy") == 1


async def test_what_no_relay_took_is_not_copied_and_what_one_recipient_got_is(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, other: str
) -> None:
    await crm.owner(mailbox)
    await new_router(incoming() + outgoing())
    await crm.wait_for(1, WANTED)
    refused = await crm.send(mailbox, f"refused-{other}", "refused")
    await crm.wait_for_status(refused, "failed")
    partly = await crm.send(mailbox, [other, f"refused-{other}"], "partly")
    await crm.wait_for(True, APPENDED, partly)
    assert [copy["Subject"][:6] for copy in sent(dovecot, mailbox)] == ["partly"]


async def test_begun_before_and_not_noted_it_is_looked_for_and_put_there_once(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, other: str
) -> None:
    """A crash between APPEND and its commit leaves a row that was begun, and a copy that lies there."""
    await crm.owner(mailbox)
    router = await new_router(incoming() + outgoing())
    await crm.wait_for(1, WANTED)
    emails = [await crm.send(mailbox, other, f"number {number}") for number in range(3)]
    for email_id in emails:
        await crm.wait_for(True, APPENDED, email_id)
    await router.kill()
    await crm.admin.execute("UPDATE router.sent_copy SET appended_at = NULL, due_at = now()")
    await router.start()
    for email_id in emails:
        await crm.wait_for(True, APPENDED, email_id)
    assert len(sent(dovecot, mailbox)) == 3
    assert await crm.admin.fetchval("SELECT min(attempts) FROM router.sent_copy") == 2

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MAILBOX_PASSWORD", PASSWORD)
        profiles = read_folder(router.profiles).profiles
        message_id = (await crm.email(emails[0]))["message_id"]
        assert await sent_folder_has(profiles, mailbox, message_id) is True
        assert await sent_folder_has(profiles, mailbox, "nowhere@in.test") is False
        assert await sent_folder_has(profiles, "nobody@else.test", message_id) is None
        environment.setenv("MAILBOX_PASSWORD", "wrong")
        assert await sent_folder_has(profiles, mailbox, message_id) is None


async def test_a_mail_server_that_is_away_or_silent_delays_neither_sending_nor_the_copies_of_others(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, mailbox: str, other: str, tmp_path: Path
) -> None:
    silent_port, away_port = free_port(), free_port()
    opened: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", silent_port)
    async with server:
        silent, away = (mailbox.replace("@", f"-{name}@") for name in ("silent", "away"))
        for one in (silent, away, mailbox):
            await crm.owner(one)
        router = await new_router(
            incoming()
            + incoming("silent", owners=["*-silent@in.test"], port=silent_port, timeout=600)
            + incoming("away", owners=["*-away@in.test"], port=away_port)
            + outgoing()
        )
        await crm.wait_for(3, WANTED)
        emails = [await crm.send(one, other, "sent all the same") for one in (silent, away, away, mailbox)]
        for email_id in emails:
            await crm.wait_for_status(email_id, "sent")
        await crm.wait_for(True, APPENDED, emails[-1])
        await crm.wait_for(2, "SELECT count(*) FROM router.sent_copy WHERE fault IS NOT NULL")
        fault = await words(crm, emails[1])
        assert fault is not None
        assert str(away_port) in fault
        assert "copies cannot be put into a Sent folder now" in router.log()
        # The doctor asks each server, and waits as long as a profile says.
        (tmp_path / "less.toml").write_text(
            (router.profiles / "all.toml").read_text().replace("timeout = 600", "timeout = 1")
        )
        status, told = await router.ask("doctor", EMAIL_ROUTER_PROFILES=str(tmp_path))
        assert status == 1
        assert "2 copies not in the Sent folder yet" in told
        # It is tried for days, and ends with the reason.
        await crm.admin.execute(
            "UPDATE router.sent_copy SET since = now() - interval '6 days', due_at = now() WHERE email_id = $1",
            emails[1],
        )
        await crm.wait_for(True, "SELECT given_up_at IS NOT NULL FROM router.sent_copy WHERE email_id = $1", emails[1])
        assert await words(crm, emails[1]) == fault
        assert (await crm.email(emails[1]))["status"] == "sent"
        assert opened
        await router.stop()
        for writer in opened:
            writer.close()


async def test_without_a_sent_folder_the_reason_is_said_and_it_is_put_there_once_there_is_one(
    crm: Crm, new_router: NewRouter, outgoing: Profile, mailbox: str, other: str, tmp_path: Path
) -> None:
    """A Maildir has only the folders that somebody has made."""
    await crm.owner(mailbox)
    make_maildir(tmp_path / mailbox)
    disk = f'[incoming.disk]\ntransport = "maildir"\npath = "{tmp_path}/{{mailbox}}"\nowners = ["*@in.test"]\n'
    await new_router(disk + outgoing())
    await crm.wait_for(1, WANTED)
    email_id = await crm.send(mailbox, other, "to the disk")
    await crm.wait_for_status(email_id, "sent")
    await crm.wait_for(True, "SELECT fault LIKE '%no Sent folder%' FROM router.sent_copy WHERE email_id = $1", email_id)
    make_maildir(tmp_path / mailbox / ".Sent")
    await crm.admin.execute("UPDATE router.sent_copy SET due_at = now()")
    await crm.wait_for(True, APPENDED, email_id)
    [file] = (tmp_path / mailbox / ".Sent" / "cur").iterdir()
    assert file.name.endswith(":2,S")
    copy = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert copy["Message-ID"] == f"<{(await crm.email(email_id))['message_id']}>"


async def test_what_leaves_in_the_moment_of_approval_is_copied_and_of_an_owner_nobody_reads_nothing_is_left(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, other: str
) -> None:
    await new_router(incoming(owners=[mailbox]) + outgoing())
    unread = mailbox.replace("@", "-unread@")
    await crm.owner(mailbox)
    await crm.owner(unread)
    copied, without = [await crm.send(one, other, "at once") for one in (mailbox, unread)]
    for email_id in (copied, without):
        await crm.wait_for_status(email_id, "sent")
    await crm.wait_for(True, APPENDED, copied)
    await crm.wait_for(1, "SELECT count(*) FROM router.sent_copy")
    assert len(sent(dovecot, mailbox)) == 1


async def test_what_the_original_may_have_copied_since_is_looked_for_when_a_copy_of_the_database_is_started(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, other: str,
    database: str,
) -> None:  # fmt: skip
    await crm.owner(mailbox)
    router = await new_router(incoming() + outgoing())
    email_id = await crm.send(mailbox, other, "copied by the original")
    await crm.wait_for_status(email_id, "sent")
    await crm.wait_for(True, APPENDED, email_id)
    await router.stop()
    # As the database was a moment before, and is restored now.
    await crm.admin.execute("UPDATE router.sent_copy SET appended_at = NULL, attempts = 0, due_at = now()")
    await crm.admin.execute("UPDATE router.installation SET database_oid = NULL")
    await router.start("is a copy of another")
    await crm.wait_for_beats(2)
    assert await crm.admin.fetchval("SELECT attempts FROM router.sent_copy") == 0
    async with Database(database, 1) as admin:
        await set_sending(admin, on=True)
    await crm.wait_for(True, APPENDED, email_id)
    assert len(sent(dovecot, mailbox)) == 1


async def test_nothing_is_put_into_a_mailbox_that_the_crm_names_and_no_admin_has_approved(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, other: str,
    new_mailbox: Callable[[str], str],
) -> None:  # fmt: skip
    """Else the CRM could have anything lie in anybody's Sent folder, as sent from there."""
    victim = new_mailbox("victim")
    owner = await crm.owner(mailbox)
    without_from = await crm.draft(mailbox, other, "without From")
    await crm.sql.execute("DELETE FROM crm.party WHERE email_id = $1 AND role = 'from'", without_from)
    await crm.sql.execute("UPDATE crm.email SET owner_id = $2 WHERE id = $1", without_from, owner)
    router = await new_router(incoming(port=free_port()) + outgoing())
    await crm.wait_for(1, WANTED)
    with_from = await crm.send(mailbox, other, "with From")
    await crm.move(without_from, "pending_send")
    for email_id in (with_from, without_from):
        await crm.wait_for_status(email_id, "sent")
    await crm.wait_for(2, "SELECT count(*) FROM router.sent_copy WHERE fault IS NOT NULL")
    await router.stop()
    await crm.sql.execute("UPDATE crm.owner SET mailbox = $2 WHERE record_id = $1", owner, victim)
    await crm.admin.execute("UPDATE router.sent_copy SET due_at = now()")

    await new_router(incoming() + outgoing())
    await crm.wait_for(2, "SELECT count(*) FROM router.sent_copy WHERE fault LIKE 'no admin has approved%'")
    assert sent(dovecot, victim) == []
    assert await crm.admin.fetchval("SELECT count(*) FROM router.sent_copy WHERE given_up_at IS NOT NULL") == 0

    # Once it is, what says that it was sent from elsewhere is not put there as sent from this one.
    await crm.admin.execute("UPDATE crm.owner SET approved = true")
    await crm.admin.execute("UPDATE router.sent_copy SET due_at = now()")
    await crm.wait_for(True, "SELECT given_up_at IS NOT NULL FROM router.sent_copy WHERE email_id = $1", with_from)
    assert await words(crm, with_from) == "it is from another mailbox than its owner has now"
    await crm.wait_for(True, APPENDED, without_from)
    assert [copy["Subject"][:12] for copy in sent(dovecot, victim)] == ["without From"]
