"""Mailbox.list: what is new, oldest first, and where to go on."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, message, subjects
from transports.base import Cursor
from transports.errors import CursorLost


@every_way()
async def test_an_empty_mailbox(post: Post) -> None:
    async with post.open() as account:
        box = account.folder("INBOX")
        listing = await box.list(None, 10)
        assert listing.copies == ()
        assert not listing.more
        post.put(message("first"))
        assert await subjects(box, listing.cursor) == ["first"]


@every_way()
async def test_portions_oldest_first_and_the_cursor_after_each(post: Post) -> None:
    contents = [message(f"number {number}", 100 * number) for number in range(5)]
    post.put(*contents)

    async with post.open() as account:
        box = account.folder("INBOX")
        first = await box.list(None, 2)
        second = await box.list(first.cursor, 2)
        third = await box.list(second.cursor, 2)
        fourth = await box.list(third.cursor, 2)
        listings = [first, second, third, fourth]
        assert [listing.more for listing in listings] == [True, True, False, False]
        assert [[listed.size for listed in listing.copies] for listing in listings] == [
            [len(content) for content in part] for part in (contents[:2], contents[2:4], contents[4:], [])
        ]
        # What was listed is listed again for whoever asks again.
        whole = await box.list(None, 5)
        assert not whole.more
        assert whole.copies == first.copies + second.copies + third.copies
        assert len({listed.place for listed in whole.copies}) == 5
        assert abs(whole.copies[0].received_at - datetime.now(UTC)) < timedelta(days=1)


@every_way()
async def test_a_cursor_holds_beyond_its_connection(post: Post) -> None:
    post.put(message("one"), message("two"))
    async with post.open() as account:
        cursor = (await account.folder("INBOX").list(None, 1)).cursor
    post.put(message("three"))

    async with post.open() as account:
        assert await subjects(account.folder("INBOX"), Cursor(str(cursor))) == ["two", "three"]


@every_way()
async def test_the_present(post: Post) -> None:
    async with post.open() as account:
        box = account.folder("INBOX")
        of_nothing = await box.list(None, 0)
        post.put(message("old"))
        present = await box.list(None, 0)
        assert present.copies == of_nothing.copies == ()
        post.put(message("new"))
        assert await subjects(box, of_nothing.cursor) == ["old", "new"]
        assert await subjects(box, present.cursor) == ["new"]


@every_way("live")
async def test_what_is_gone_is_passed_over(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(4)))

    async with post.open() as account:
        box = account.folder("INBOX")
        cursor = (await box.list(None, 1)).cursor
        post.remove(0, 1)
        post.put(message("new"))
        assert await subjects(box, cursor) == ["number 2", "number 3", "new"]


@every_way()
async def test_what_is_gone_by_the_next_connection_is_passed_over(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(4)))
    async with post.open() as account:
        cursor = (await account.folder("INBOX").list(None, 1)).cursor
    post.remove(0, 1)
    post.put(message("new"))

    async with post.open() as account:
        assert await subjects(account.folder("INBOX"), cursor) == ["number 2", "number 3", "new"]


@every_way()
async def test_a_mailbox_that_was_emptied_goes_on(post: Post) -> None:
    post.put(message("one"), message("two"))

    async with post.open() as account:
        box = account.folder("INBOX")
        cursor = (await box.list(None, 10)).cursor
        post.remove(0, 1)
        emptied = await box.list(cursor, 10)
        assert emptied.copies == ()
        post.put(message("three"))
        assert await subjects(box, cursor) == await subjects(box, emptied.cursor) == ["three"]


@every_way()
async def test_what_a_person_has_read_is_listed_all_the_same(post: Post) -> None:
    post.put(message("read"), flags=["\\Seen", "\\Answered"])

    async with post.open() as account:
        assert await subjects(account.folder("INBOX")) == ["read"]


@every_way()
async def test_a_cursor_that_means_nothing_is_lost(post: Post) -> None:
    async with post.open() as account:
        with pytest.raises(CursorLost, match=r"\w \w"):
            await account.folder("INBOX").list(Cursor("of another time"), 10)


@every_way("folders", "validity")
async def test_a_folder_made_anew_loses_cursor_and_places(post: Post) -> None:
    post.put(message("old"), folder="Box")
    async with post.open() as account:
        old = await account.folder("Box").list(None, 10)
    post.make_anew("Box")
    post.put(message("new"), folder="Box")

    async with post.open() as account:
        box = account.folder("Box")
        with pytest.raises(CursorLost, match="Box"):
            await box.list(old.cursor, 10)
        assert [copy async for copy in box.fetch([old.copies[0].place], "whole")] == []
        (new,) = await all_listed(box)
        assert new.place.validity != old.copies[0].place.validity
        assert await subjects(box) == ["new"]
