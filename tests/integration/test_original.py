"""The raw bytes of received mail, from where it lies; and why they are gone, where they are."""

import asyncio
import os
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from router import profile
from router.cli import app
from router.errors import UnknownName
from router.operations.original import NotHad, Original, original
from router.read import read
from router.repository.database import Database
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.integration.test_forward import Sink
from tests.integration.test_forward import sink as sink  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm, Parcel
from tests.support.forked import email_router
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter, RouterProcess

KARL, ULLA, DORA = "karl@kunde.test", "ulla@in.test", "dora@drop.test"
ID, FORWARDED = "<4711@kunde.test>", "<4712@kunde.test>"
LISTENER = """
[incoming.drop]
transport = "lmtp"
listen = "127.0.0.1:{port}"
owners = ["*@drop.test"]
rule = "all"
"""

Find = Callable[[RouterProcess, object], Awaitable[Original]]


@pytest.fixture
async def find(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Find]:
    """What the command does with the profiles of a router, without the time that a process takes to start."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    async with Database(database) as opened, Workers(read, unwrap, limit=30, size=1) as workers:

        async def find(router: RouterProcess, name: object) -> Original:
            return await original(opened, workers, profile.read_folder(router.profiles).profiles, str(name))

        yield find


async def run(database: str, router: RouterProcess, *arguments: object) -> tuple[int | None, bytes, str]:
    """Run the command with the profiles of a router: its status, and what it prints."""
    environment = {"EMAIL_ROUTER_DATABASE_URL": database, "EMAIL_ROUTER_PROFILES": str(router.profiles)}
    process = await email_router(
        "original", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | SECRETS | environment,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out, err.decode().strip()


async def email_to(crm: Crm, owner_id: UUID) -> UUID:
    found: UUID = await crm.sql.fetchval("SELECT id FROM crm.email WHERE direction = 'in' AND owner_id = $1", owner_id)
    return found


async def test_it_is_found_wherever_the_mail_came_from_or_said_why_not(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, sink: Sink, database: str,
    tmp_path: Path, find: Find,
) -> None:  # fmt: skip
    """One router receives from a mailbox, a forward mailbox and a listener; what is found comes after it."""
    staff, _, dora = [await crm.owner(one, "all") for one in (mailbox, ULLA, DORA)]
    written = letter(
        KARL, mailbox, "Offer", "Chairs ä\n", attachments=[Parcel("a.bin", "application/pdf", bytes(range(256)))],
        Message_ID=ID,
    )  # fmt: skip
    dovecot.deliver(mailbox, written)
    forwarded = letter(KARL, ULLA, "Offer", Message_ID=FORWARDED)
    sink.deliver(forwarding(f"Ulla <{ULLA}>", [letter(KARL, ULLA, "Other"), forwarded]))
    port = free_port()
    profiles = (
        incoming(owners=[mailbox], start="all", after="keep"),
        sink.profile(after="keep"),
        LISTENER.format(port=port),
    )
    router = await new_router("\n".join(profiles), says=("listening",))

    def hand_over() -> None:
        with smtplib.LMTP("127.0.0.1", port) as lmtp:
            lmtp.sendmail(KARL, [DORA], letter(KARL, DORA))

    await asyncio.to_thread(hand_over)
    await crm.wait_for_emails(4)
    await router.stop()
    email_id, dropped = await email_to(crm, staff), await email_to(crm, dora)

    # From its place, to stdout or to a file that is not there yet; the command says why it does not.
    target, there = tmp_path / "mail.eml", tmp_path / "there.eml"
    there.touch()
    printed, saved, gone = await asyncio.gather(
        run(database, router, email_id),
        run(database, router, email_id, "--output", target),
        run(database, router, dropped),
    )
    content = printed[1]
    assert (printed[0], content.endswith(written)) == (0, True)  # the server has put a Return-Path above it
    assert saved == (0, b"", f"{target}: {len(content)} bytes, from INBOX of {mailbox}")
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (content, 0o600)
    refused = CliRunner().invoke(app, ["original", str(email_id), "--output", str(there)])
    assert (refused.exit_code, "is there already" in refused.output) == (2, True)
    assert (gone[0], gone[1]) == (1, b"")
    assert "it was handed to the listener drop, which keeps no bytes of promoted mail" in gone[2]

    # By its Message-ID; and of a forward mailbox it is the original.
    assert (await find(router, ID)).content == content
    assert (await find(router, FORWARDED)).content.strip() == forwarded.strip()

    draft = await crm.draft(mailbox, [KARL], "Offer")
    for name, words in (
        (draft, f"no copy of the email {draft} was received: the CRM wrote it"),
        (uuid4(), "the CRM does not have the email"),
    ):
        with pytest.raises(NotHad, match=words):
            await find(router, name)
    with pytest.raises(UnknownName, match="there is no email <nothing@nowhere"):
        await find(router, "<nothing@nowhere.test>")

    # Without a decision that is kept, its receipt tells the place.
    await crm.admin.execute("DELETE FROM router.decision")
    assert (await find(router, email_id)).content == content

    # A person has put it elsewhere; and what else has its Message-ID and Date is not it.
    moved = move_to_archive(dovecot, mailbox)
    dovecot.deliver(mailbox, written.replace(b"Chairs", b"Tables").replace(b"Subject: Offer", b"Subject: Forged"))
    assert (await find(router, email_id)).content == content

    for one in (moved / "cur").iterdir():
        one.unlink()
    words = f"the bytes of the email {email_id} are gone: INBOX of {mailbox}: it lies there no longer"
    with pytest.raises(NotHad, match=words):
        await find(router, email_id)

    await crm.admin.execute("UPDATE crm.owner SET approved = false")
    with pytest.raises(NotHad, match="the mailbox is not approved"):
        await find(router, email_id)


def move_to_archive(dovecot: Dovecot, mailbox: str) -> Path:
    """Put the one mail of an inbox into the folder Archive, as a person does; return that folder."""
    [file] = [one for part in ("cur", "new") for one in (dovecot.maildir(mailbox) / part).iterdir()]
    archive = dovecot.maildir(mailbox, "Archive")
    of = dovecot.maildir(mailbox).stat()
    for folder in (archive, archive / "cur", archive / "new", archive / "tmp"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, of.st_uid, of.st_gid)
    file.rename(archive / "cur" / file.name)
    return archive
