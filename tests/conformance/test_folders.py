"""Account.folders and the views: which there are, and what happens where one is missing."""

import asyncio

import pytest

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, fetched, message, subjects
from transports.base import Place
from transports.errors import CursorLost, Missing, TransportError, Unreachable

NAMES = {
    "Büro/日本語": "B&APw-ro/&ZeVnLIqe-",
    "A & B (2026)": "A &- B (2026)",
    "Grüße 😀": "Gr&APwA3w-e &2D3eAA-",
    "List - Größe*": "List - Gr&APYA3w-e*",
}
"""Names as people write them, and as IMAP does (RFC 3501 §5.1.3)."""


@every_way()
async def test_the_inbox_alone(post: Post) -> None:
    async with post.open() as account:
        assert [(folder.name, folder.use) for folder in await account.folders()] == [("INBOX", "inbox")]
        assert account.folder("INBOX") is account.folder("INBOX")


@every_way("folders")
async def test_all_folders_but_junk_trash_and_drafts(post: Post) -> None:
    post.make("Alpha")
    post.make("Inner/Deep")
    for name in ("Sent", "Junk", "Trash", "Drafts"):
        post.put(message("one"), folder=name)

    async with post.open(folders=["*"]) as account:
        folders = await account.folders()
        names = [folder.name for folder in folders]
        assert names[0] == "INBOX"
        assert {"Alpha", "Inner/Deep", "Sent"}.issubset(names)
        assert not {"Junk", "Trash", "Drafts"}.intersection(names)
        assert {folder.name: folder.use for folder in folders if folder.use} == {"INBOX": "inbox", "Sent": "sent"}
        # Made meanwhile, it is there.
        post.make("Zulu")
        assert {folder.name for folder in await account.folders()} == {*names, "Zulu"}


@every_way("folders", "move")
async def test_the_folder_that_mail_is_moved_to_is_read_only_by_name(post: Post) -> None:
    post.make("Done")

    async with post.open(folders=["*"], after="move:Done") as account:
        assert "Done" not in [folder.name for folder in await account.folders()]
    async with post.open(folders=["*", "Done"], after="move:Done") as account:
        assert "Done" in [folder.name for folder in await account.folders()]


@every_way("folders")
async def test_folders_by_name_keep_them_even_if_they_are_not_there(post: Post) -> None:
    post.make("There")

    async with post.open(folders=["Nowhere", "There", "INBOX"]) as account:
        names = [folder.name for folder in await account.folders()]
        assert names[0] == "INBOX"
        assert set(names) == {"INBOX", "There", "Nowhere"}


@pytest.mark.parametrize("name", NAMES)
@every_way("folders")
async def test_names_as_people_write_them(post: Post, name: str) -> None:
    post.put(message("one"), folder=NAMES[name])

    async with post.open(folders=["*"]) as account:
        assert name in [folder.name for folder in await account.folders()]
        assert await subjects(account.folder(name)) == ["one"]
    async with post.open(folders=[name]) as account:
        assert [folder.name for folder in await account.folders()] == [name]


@every_way("folders")
async def test_a_missing_folder_concerns_no_other(post: Post) -> None:
    post.put(message("one"))

    async with post.open(poll=1) as account:
        inbox, nowhere = account.folder("INBOX"), account.folder("Nowhere/Büro")
        for _ in range(2):
            with pytest.raises(Missing, match=r"Nowhere/Büro.*: .+"):
                await nowhere.list(None, 10)
            assert await subjects(inbox) == ["one"]
        with pytest.raises(Missing, match="Nowhere/Büro"):
            await fetched(nowhere, [Place("1", "1")])
        # Waiting neither ends at once because of it, nor fails.
        await asyncio.wait_for(account.wait(0.1), 30)
        assert "INBOX" not in await account.changed()

        post.put(message("two"), folder="Nowhere/B&APw-ro")
        assert await subjects(nowhere) == ["two"]


@every_way("folders")
async def test_a_folder_deleted_while_it_is_read(post: Post) -> None:
    post.put(message("one"), folder="Box")
    post.put(message("one"))

    async with post.open() as account:
        box = account.folder("Box")
        cursor = (await box.list(None, 10)).cursor
        post.drop("Box")
        # A server may end the connection for it (Dovecot does).
        with pytest.raises(TransportError, match=r"\w \w"):
            await box.list(cursor, 10)
    async with post.open() as account:
        with pytest.raises(Missing, match="Box"):
            await account.folder("Box").list(cursor, 10)
        assert await subjects(account.folder("INBOX")) == ["one"]


@pytest.mark.parametrize("before", [0, 1], ids=["empty", "with mail"])
@every_way("folders", "validity")
async def test_a_folder_made_anew_while_it_is_followed(post: Post, before: int) -> None:
    post.make("Box")
    post.put(*[message("old")] * before, folder="Box")

    async def follow() -> None:
        await waiting
        while not await account.changed():
            await account.wait(600)
        await box.list(cursor, 10)

    async with post.open(poll=1) as account:
        box = account.folder("Box")
        cursor = (await box.list(None, 10)).cursor
        waiting = asyncio.create_task(account.wait(600))
        await asyncio.to_thread(post.make_anew, "Box")
        with pytest.raises((CursorLost, Unreachable)):
            await asyncio.wait_for(follow(), 30)
    async with post.open() as account:
        with pytest.raises(CursorLost):
            await account.folder("Box").list(cursor, 10)


@every_way("folders")
async def test_folders_are_read_at_the_same_time(post: Post) -> None:
    names = ["INBOX", "Box", "Inner/Deep"]
    for name in names:
        post.put(*(message(f"{name} {number}", 50_000) for number in range(3)), folder=name)

    async def read(name: str) -> list[str]:
        box = account.folder(name)
        copies = await all_listed(box)
        contents = [copy.content for place in copies for copy in await fetched(box, [place.place])]
        assert contents == [message(f"{name} {number}", 50_000) for number in range(3)]
        return await subjects(box)

    async with post.open() as account:
        waiting = asyncio.create_task(account.wait(600))
        read_at_once = await asyncio.gather(*(read(name) for name in names * 2))
        assert read_at_once == [[f"{name} {number}" for number in range(3)] for name in names * 2]
        await asyncio.wait_for(waiting, 30)
