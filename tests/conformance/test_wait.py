"""Account.wait and Account.changed: when to look, and where."""

import asyncio
import time

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, message, subjects
from transports.base import Account, After, Settlement

LONG = 600
"""Seconds. What ends sooner was told."""


async def soon_changed(account: Account, folder: str) -> None:
    """Return once the folder is told as changed, as a reader finds out."""
    async with asyncio.timeout(30):
        while folder not in await account.changed():
            await account.wait(1)


@every_way("told")
async def test_mail_ends_the_waiting(post: Post) -> None:
    async with post.open() as account:
        box = account.folder("INBOX")
        cursor = (await box.list(None, 10)).cursor
        for subject in ("one", "two"):
            waiting = asyncio.create_task(account.wait(LONG))
            await asyncio.to_thread(post.deliver, message(subject))
            await asyncio.wait_for(waiting, 30)
            assert "INBOX" in await account.changed()
            assert await subjects(box, cursor) == [subject]
            cursor = (await box.list(cursor, 10)).cursor


@every_way()
async def test_waiting_ends_at_its_time(post: Post) -> None:
    async with post.open() as account:
        await all_listed(account.folder("INBOX"))
        began = time.monotonic()
        await asyncio.wait_for(account.wait(0.2), 30)
        assert time.monotonic() - began >= 0.2
        assert await account.changed() == []


@every_way()
async def test_who_has_more_to_list_does_not_wait(post: Post) -> None:
    post.put(message("one"), message("two"))

    async with post.open() as account:
        box = account.folder("INBOX")
        await asyncio.wait_for(account.wait(LONG), 30)
        listing = await box.list(None, 1)
        assert listing.more
        await asyncio.wait_for(account.wait(LONG), 30)
        assert await subjects(box, listing.cursor) == ["two"]


@every_way("told")
async def test_what_came_before_the_waiting_ends_it(post: Post) -> None:
    post.put(message("one"))

    async with post.open() as account:
        box = account.folder("INBOX")
        listing = await box.list(None, 10)
        post.deliver(message("two"))
        # What the server tells of it comes with the answer to something else.
        await box.settle([Settlement(listing.copies[0].place, After("keep"))])
        await asyncio.wait_for(account.wait(LONG), 30)
        assert await subjects(box, listing.cursor) == ["two"]


@every_way()
async def test_others_may_use_the_account_while_one_waits(post: Post) -> None:
    post.put(message("one"))

    async with post.open() as account:
        box = account.folder("INBOX")
        await all_listed(box)
        waiting = asyncio.create_task(account.wait(LONG))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            for _ in range(3):
                assert await subjects(box) == ["one"]
                await account.folders()
        waiting.cancel()
        await asyncio.wait([waiting])


@every_way()
async def test_a_folder_is_changed_until_it_is_listed_to_its_end(post: Post) -> None:
    post.put(message("one"), message("two"))

    async with post.open() as account:
        assert list(await account.changed()) == []  # nothing is watched yet
        box = account.folder("INBOX")
        assert list(await account.changed()) == ["INBOX"]
        listing = await box.list(None, 1)
        assert list(await account.changed()) == ["INBOX"]
        await box.list(listing.cursor, 10)
        assert list(await account.changed()) == []
        post.put(message("three"))
        await soon_changed(account, "INBOX")


@every_way("folders")
async def test_only_the_folder_that_changed(post: Post) -> None:
    names = ["INBOX", "Box", "Büro"]
    post.put(message("one"), folder="Box")
    post.put(message("one"), folder="B&APw-ro")

    async with post.open(poll=1) as account:
        boxes = {name: account.folder(name) for name in names}
        assert set(await account.changed()) == set(names)
        for box in boxes.values():
            await all_listed(box)
        # Selecting one may be what tells of another.
        assert list(await account.changed()) == []
        post.put(message("two"), folder="B&APw-ro")
        await soon_changed(account, "Büro")
        assert list(await account.changed()) == ["Büro"]
        assert await subjects(boxes["Büro"]) == ["one", "two"]
        assert list(await account.changed()) == []
        post.put(message("two"), folder="Box")
        post.deliver(message("two"))
        await soon_changed(account, "Box")
        await soon_changed(account, "INBOX")


@every_way("folders")
async def test_mail_in_any_folder_ends_the_waiting(post: Post) -> None:
    post.make("Box")

    async with post.open(poll=1) as account:
        boxes = [account.folder(name) for name in ("INBOX", "Box")]
        for box in boxes:
            await all_listed(box)
        for folder in ("Box", "INBOX", "Box"):
            waiting = asyncio.create_task(account.wait(LONG))
            await asyncio.to_thread(post.put, message("new"), folder=folder)
            await asyncio.wait_for(waiting, 30)
            assert folder in await account.changed()
            await all_listed(account.folder(folder))


@every_way("seen")
async def test_what_a_person_reads_or_removes_changes_nothing(post: Post) -> None:
    post.put(message("one"), message("two"))

    async with post.open(poll=1) as account:
        box = account.folder("INBOX")
        await all_listed(box)
        with post.server.connect(post.mailbox) as imap:
            imap.select()
            imap.uid("STORE", "1:*", "+FLAGS", "(\\Seen)")
        post.remove(0)
        assert list(await account.changed()) == []
        assert await subjects(box) == ["two"]
