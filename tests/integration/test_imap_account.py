"""The folders of one mailbox over one connection, against a real Dovecot."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.dovecot import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, Dovecot
from transports.base import After, Cursor, Folder, Mailbox, Settlement
from transports.errors import Missing, Unreachable
from transports.imap.account import ImapAccount
from transports.imap.settings import ImapSettings

Open = Callable[..., ImapAccount]

BODY = b"From: a@out.test\r\nSubject: x\r\n\r\nx\r\n"


@pytest.fixture
def opened(dovecot: Dovecot, ca_file: Path, mailbox: str, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", PASSWORD)
    monkeypatch.setenv("IMAP_TEST_MASTER", MASTER_PASSWORD)
    auth = {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}}

    def make(**changes: Any) -> ImapAccount:
        settings = {"host": HOST, "port": dovecot.imaps, "ca_file": ca_file, "timeout": 20, "poll": 600, "auth": auth}
        return ImapAccount(ImapSettings.model_validate(settings | changes), mailbox, After("keep"))

    return make


async def drained(box: Mailbox) -> Cursor:
    listing = await box.list(None, 100)
    assert not listing.more
    return listing.cursor


async def test_every_folder_but_those_that_nobody_wants(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, BODY, "Customers/2026")
    async with opened(folders=["*"]) as account:
        assert list(await account.folders()) == [
            Folder("INBOX", "inbox"),
            Folder("Customers/2026"),
            Folder("Sent", "sent"),
        ]


async def test_named_folders_and_sent(opened: Open) -> None:
    async with opened(folders=["Nowhere", "inbox"], sent=True) as account:
        assert list(await account.folders()) == [Folder("INBOX", "inbox"), Folder("Nowhere"), Folder("Sent", "sent")]


async def test_missing_folder_is_told_and_harms_no_other(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, BODY)
    async with opened() as account:
        missing, inbox = account.folder("Büro/Nowhere"), account.folder("INBOX")
        with pytest.raises(Missing, match='there is no folder "Büro/Nowhere" in'):
            await missing.list(None, 9)
        cursor = await drained(inbox)
        assert await account.changed() == ["Büro/Nowhere"]
        # It is not what anybody waits for.
        await asyncio.wait_for(account.wait(0.05), 30)

        with dovecot.connect(mailbox) as imap:
            imap.create('"B&APw-ro/Nowhere"')
        assert (await missing.list(None, 9)).copies == ()
        assert (await inbox.list(cursor, 9)).copies == ()
        assert await account.changed() == []


async def test_folder_that_went_missing_is_told(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, BODY, "Box")
    async with opened(poll=1) as account:
        inbox, box = account.folder("INBOX"), account.folder("Box")
        await drained(box)
        await drained(inbox)
        with dovecot.connect(mailbox) as imap:
            imap.rename("Box", "Other")
        await asyncio.wait_for(account.wait(600), 30)
        assert await account.changed() == ["Box"]
        with pytest.raises(Missing):
            await box.list(None, 9)
        await drained(inbox)


@pytest.mark.parametrize(
    ("lacking", "poll"), [((), 600), (("NOTIFY",), 1), (("NOTIFY", "LIST-STATUS"), 1), (("NOTIFY", "IDLE"), 1)]
)
async def test_mail_in_any_folder_ends_the_waiting(
    dovecot: Dovecot, mailbox: str, opened: Open, lacking: tuple[str, ...], poll: int
) -> None:
    said = {"INBOX": "INBOX", "Box": "Box", "Büro": "B&APw-ro", "Sent": "Sent"}
    for folder in said.values():
        dovecot.append(mailbox, BODY, folder)
    async with opened(folders=["*"], poll=poll) as account:
        account._session.connection.known.capabilities -= set(lacking)
        views = {folder.name: account.folder(folder.name) for folder in await account.folders()}
        assert list(views) == list(await account.changed()) == list(said)
        cursors = {name: await drained(view) for name, view in views.items()}
        assert await account.changed() == []
        for name, view in views.items():
            waiting = asyncio.create_task(account.wait(600))
            await asyncio.sleep(0)
            await asyncio.to_thread(dovecot.append, mailbox, BODY, said[name])
            await asyncio.wait_for(waiting, 30)
            assert await account.changed() == [name]
            listing = await view.list(cursors[name], 9)
            assert len(listing.copies) == 1
            cursors[name] = listing.cursor
        assert await account.changed() == []


async def test_many_folders_cost_one_command(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    with dovecot.connect(mailbox) as imap:
        for number in range(30):
            imap.create(f"Folder/{number}")
    async with opened(folders=["*"], poll=600) as account:
        for folder in await account.folders():
            await drained(account.folder(folder.name))
        account._looked_at = float("-inf")
        before = account._session.connection.tagnum
        assert await account.changed() == []
        assert account._session.connection.tagnum - before == 2


async def test_views_at_once_never_mix(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for folder in ("A", "B", "C"):
        for number in range(3):
            dovecot.append(mailbox, b"Subject: %s%d\r\n\r\n" % (folder.encode(), number), folder)

    async def read(account: ImapAccount, name: str) -> list[bytes]:
        box = account.folder(name)
        listing = await box.list(None, 9)
        places = [listed.place for listed in listing.copies]
        copies = [copy.content async for copy in box.fetch(places, "whole")]
        await box.settle([Settlement(places[0], After("keyword", name))])
        return copies

    async with opened() as account:
        waiting = asyncio.create_task(account.wait(600))
        for _ in range(5):
            found = await asyncio.gather(*(read(account, name) for name in ("A", "B", "C")))
            assert found == [[b"Subject: %s%d\r\n\r\n" % (n, i) for i in range(3)] for n in (b"A", b"B", b"C")]
        waiting.cancel()
        await asyncio.wait([waiting])
    assert [dovecot.flags(mailbox, name) for name in "ABC"] == [{1: {name}, 2: set(), 3: set()} for name in "ABC"]


async def test_views_may_be_used_within_a_fetch(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for folder in ("INBOX", "Box"):
        for number in range(2):
            dovecot.append(mailbox, b"Subject: %d\r\n\r\n%s" % (number, b"x" * (3 << 20)), folder)
    async with opened() as account:
        inbox, box = account.folder("INBOX"), account.folder("Box")
        places = [listed.place for listed in (await inbox.list(None, 9)).copies]
        seen = []
        async for copy in inbox.fetch(places, "whole"):
            seen.append(copy.content[:10])
            assert len((await box.list(None, 9)).copies) == 2
        assert seen == [b"Subject: 0", b"Subject: 1"]


async def test_all_views_know_that_the_connection_is_lost(opened: Open) -> None:
    async with opened() as account:
        views = [account.folder("INBOX"), account.folder("Sent")]
        for view in views:
            await drained(view)
        waiting = asyncio.create_task(account.wait(600))
        await asyncio.sleep(0)
        account._session.connection.abort("a test")
        with pytest.raises(Unreachable, match="a test"):
            await asyncio.wait_for(waiting, 30)
        for view in views:
            with pytest.raises(Unreachable, match="a test"):
                await view.list(None, 1)
        with pytest.raises(Unreachable, match="a test"):
            await account.changed()


async def test_master_user_by_authorization_identity(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, BODY)
    auth = {"user": MASTER_USER, "act_as": "{mailbox}", "password": {"env": "IMAP_TEST_MASTER"}}
    async with opened(auth=auth) as account:
        assert len((await account.folder("INBOX").list(None, 9)).copies) == 1
