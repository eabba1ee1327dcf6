"""The raw bytes of received mail, from where it lies; and why they are gone, where they are."""

import asyncio
import os
import smtplib
from pathlib import Path
from uuid import UUID, uuid4

from tests.integration.test_forward import Sink
from tests.integration.test_forward import sink as sink  # noqa: PLC0414  # a fixture
from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm, Parcel
from tests.support.forked import email_router
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter, RouterProcess

KARL = "karl@kunde.test"
ID = "<4711@kunde.test>"


async def raw(database: str, router: RouterProcess, name: object) -> bytes:
    """The bytes that the command prints."""
    environment = {"EMAIL_ROUTER_DATABASE_URL": database, "EMAIL_ROUTER_PROFILES": str(router.profiles)}
    process = await email_router(
            "original", str(name),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | SECRETS | environment,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return out


async def only_email(crm: Crm) -> UUID:
    await crm.wait_for_emails(1)
    found: UUID = await crm.sql.fetchval("SELECT id FROM crm.email WHERE direction = 'in'")
    return found


async def test_it_is_fetched_from_its_place_or_by_its_message_id_and_only_if_it_is_that_mail(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask, database: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    await crm.owner(mailbox, "all")
    content = letter(
        KARL, mailbox, "Offer", "Chairs ä\n", attachments=[Parcel("a.bin", "application/pdf", bytes(range(256)))],
        Message_ID=ID,
    )  # fmt: skip
    dovecot.deliver(mailbox, content)
    router = await new_router(incoming(start="all", after="keep"))
    email_id = await only_email(crm)
    await router.stop()
    written, content = content, await raw(database, router, email_id)
    assert content.endswith(written)  # the server has put a Return-Path above it
    assert await raw(database, router, ID) == content

    target = tmp_path / "mail.eml"
    said = await ask(router, "original", str(email_id), "--output", str(target))
    assert (said.status, said.out) == (0, "")
    assert said.err == f"{target}: {len(content)} bytes, from INBOX of {mailbox}\n"
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (content, 0o600)
    said = await ask(router, "original", str(email_id), "--output", str(target))
    assert (said.status, "is there already" in said.err) == (2, True)

    # Without a decision that is kept, its receipt tells the place.
    await crm.admin.execute("DELETE FROM router.decision")
    assert await raw(database, router, email_id) == content

    # A person has put it elsewhere; and what else has its Message-ID and Date is not it.
    [file] = [one for part in ("cur", "new") for one in (dovecot.maildir(mailbox) / part).iterdir()]
    moved = dovecot.maildir(mailbox, "Archive")
    of = dovecot.maildir(mailbox).stat()
    for folder in (moved, moved / "cur", moved / "new", moved / "tmp"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, of.st_uid, of.st_gid)
    file.rename(moved / "cur" / file.name)
    dovecot.deliver(mailbox, written.replace(b"Chairs", b"Tables").replace(b"Subject: Offer", b"Subject: Forged"))
    assert await raw(database, router, email_id) == content

    for one in (moved / "cur").iterdir():
        one.unlink()
    said = await ask(router, "original", str(email_id))
    assert (said.status, said.out) == (1, "")
    assert f"the bytes of the email {email_id} are gone: INBOX of {mailbox}: it lies there no longer" in said.err

    await crm.admin.execute("UPDATE crm.owner SET approved = false")
    said = await ask(router, "original", str(email_id))
    assert (said.status, "the mailbox is not approved" in said.err) == (1, True)


async def test_what_was_never_received_and_what_a_listener_had_says_so(
    crm: Crm, new_router: NewRouter, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "all")
    port = free_port()
    router = await new_router(
        f'[incoming.drop]\ntransport = "lmtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n',
        says=("listening",),
    )

    def hand_over() -> None:
        with smtplib.LMTP("127.0.0.1", port) as lmtp:
            lmtp.sendmail(KARL, [mailbox], letter(KARL, mailbox))

    await asyncio.to_thread(hand_over)
    email_id = await only_email(crm)
    draft = await crm.draft(mailbox, [KARL], "Offer")
    for name, status, words in (
        (email_id, 1, "it was handed to the listener drop, which keeps no bytes of promoted mail"),
        (draft, 1, f"no copy of the email {draft} was received: the CRM wrote it"),
        (uuid4(), 1, "the CRM does not have the email"),
        ("<nothing@nowhere.test>", 2, "there is no email <nothing@nowhere.test>"),
    ):
        said = await ask(router, "original", str(name))
        assert (said.status, words in " ".join(said.err.replace("│", " ").split())) == (status, True), said


async def test_of_a_forward_mailbox_it_is_the_original(
    crm: Crm, new_router: NewRouter, sink: Sink, database: str
) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "all")
    router = await new_router(sink.profile(after="keep"))
    await crm.wait_for_sources(1)
    one, other = letter(KARL, ulla, "Offer", Message_ID=ID), letter(KARL, ulla, "Other")
    sink.deliver(forwarding(f"Ulla <{ulla}>", [other, one]))
    await crm.wait_for_emails(2)
    await router.stop()
    assert (await raw(database, router, ID)).strip() == one.strip()
