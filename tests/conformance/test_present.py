"""Mailbox.present and Account.counts: what lies there, for who asks whether all of it is accounted for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, fetched, message, subjects
from transports.base import PAGE, Cursor, Mailbox, Place, Present
from transports.errors import CursorLost


async def pages_of(box: Mailbox, cursor: Cursor | None, beyond: Place | None = None) -> list[Sequence[Present]]:
    return [page async for page in box.present(cursor, beyond)]


async def present(box: Mailbox, cursor: Cursor | None, beyond: Place | None = None) -> list[Present]:
    return [one for page in await pages_of(box, cursor, beyond) for one in page]


async def present_subjects(box: Mailbox, cursor: Cursor | None, beyond: Place | None = None) -> set[str]:
    copies = await fetched(box, [one.place for one in await present(box, cursor, beyond)], "headers")
    return {copy.content.decode().partition("Subject: ")[2].partition("\r\n")[0] for copy in copies}


@every_way()
async def test_all_that_lies_there_and_what_waits(post: Post) -> None:
    async with post.open() as account:
        box = account.folder("INBOX")
        assert await present(box, None) == []
        assert (await account.counts())["INBOX"] == 0
        post.put(*(message(f"number {number}") for number in range(4)))
    async with post.open() as account:
        box = account.folder("INBOX")
        first = await box.list(None, 2)
        there = await present(box, first.cursor)
        rest = await all_listed(box, first.cursor)
        # By the places that listing shows; and it does not matter whether the cursor is the latest.
        assert {one.place for one in there if not one.waits} == {one.place for one in first.copies}
        assert {one.place for one in there if one.waits} == {one.place for one in rest}
        assert all(one.waits for one in await present(box, None))
        told = [one.received_at for one in there if one.received_at]
        assert all(abs(at - datetime.now(UTC)) < timedelta(days=1) for at in told)
        assert len(told) in (0, 4)
        assert (await account.counts())["INBOX"] == 4


@every_way()
async def test_what_is_listed_next_stays_the_same(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(3)))
    async with post.open() as account:
        box = account.folder("INBOX")
        first = await box.list(None, 1)
        assert len(await present(box, first.cursor)) == 3
        second = await box.list(first.cursor, 1)
        assert second.more
        assert len(await present(box, first.cursor)) == 3
        assert await subjects(box, second.cursor) == ["number 2"]
        cursor = (await box.list(second.cursor, 10)).cursor
        post.put(message("new"))
        assert await present_subjects(box, cursor) >= {"number 0", "number 1", "number 2"}
        assert "INBOX" in await account.changed()
        assert await subjects(box, cursor) == ["new"]


@every_way()
async def test_nothing_is_marked(post: Post) -> None:
    post.put(message("one"))
    before = post.flags()
    async with post.open() as account:
        assert len(await present(account.folder("INBOX"), None)) == 1
    assert [one - {"\\Recent"} for one in post.flags()] == [one - {"\\Recent"} for one in before]


@every_way()
async def test_it_goes_on_beyond_a_place_even_if_that_is_gone(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(6)))
    async with post.open() as account:
        box = account.folder("INBOX")
        whole = await present(box, None)
        half = await present(box, None, whole[2].place)
        assert half == whole[3:]
        assert await present(box, None, whole[5].place) == []
        in_order = [one.place for one in (await box.list(None, 10)).copies]
    post.remove(in_order.index(whole[2].place))
    async with post.open() as account:
        assert await present(account.folder("INBOX"), None, whole[2].place) == whole[3:]


@every_way()
async def test_a_folder_of_several_pages(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(PAGE + 20)))
    post.remove(*range(5))
    async with post.open() as account:
        box = account.folder("INBOX")
        pages = await pages_of(box, None)
        assert [len(page) <= PAGE for page in pages] == [True] * len(pages)
        places = [one.place for page in pages for one in page]
        assert len(places) == len(set(places)) == PAGE + 15
        assert set(places) == {one.place for one in await all_listed(box)}
        assert await present(box, None, places[100]) == [one for page in pages for one in page][101:]


@every_way("folders")
async def test_folders_are_counted_whether_they_are_read_or_not(post: Post) -> None:
    post.put(message("one"))
    post.put(message("two"), message("three"), folder="Other")
    post.make("Empty")
    async with post.open() as account:
        counts = await account.counts()
        assert {name: counts[name] for name in ("INBOX", "Other", "Empty")} == {"INBOX": 1, "Other": 2, "Empty": 0}
        assert await subjects(account.folder("INBOX")) == ["one"]


@every_way()
async def test_a_cursor_that_means_nothing_is_lost(post: Post) -> None:
    async with post.open() as account:
        with pytest.raises(CursorLost):
            await present(account.folder("INBOX"), Cursor("of another time"))


@every_way("folders", "validity")
async def test_a_folder_made_anew_loses_the_cursor(post: Post) -> None:
    post.put(message("old"), folder="Box")
    async with post.open() as account:
        old = await account.folder("Box").list(None, 10)
    post.make_anew("Box")
    post.put(message("new"), folder="Box")
    async with post.open() as account:
        box = account.folder("Box")
        with pytest.raises(CursorLost):
            await present(box, old.cursor)
        # A place of another validity is none to go on after.
        [new] = await present(box, None, old.copies[0].place)
        assert new.place == (await all_listed(box))[0].place


@every_way("validity")
async def test_what_lay_there_when_reading_began_is_told(post: Post) -> None:
    post.put(message("before"))
    async with post.open() as account:
        box = account.folder("INBOX")
        cursor = (await box.list(None, 0)).cursor
        post.put(message("since"))
        cursor = (await box.list(cursor, 10)).cursor
    async with post.open() as account:
        there = await present(account.folder("INBOX"), cursor)
        assert [(one.since_start, one.waits) for one in there] == [(False, False), (True, False)]
