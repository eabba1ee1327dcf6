"""Mailbox.append: a message is put into a folder, whole, with its flags and its time; or it says why not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, fetched, message, subjects
from transports.base import Account, WritableMailbox
from transports.errors import Missing


def folder_of(account: Account, name: str) -> WritableMailbox:
    box = account.folder(name)
    assert isinstance(box, WritableMailbox)
    return box


WHEN = datetime(2026, 3, 7, 8, 9, 10, tzinfo=UTC)


class Pieces:
    """A message that comes in pieces, cut in the midst of its line ends too; it may fail before the last one."""

    def __init__(self, whole: bytes, piece: int, error: Exception | None = None) -> None:
        self.whole, self.piece, self.error = whole, piece, error
        self.size = len(whole)
        self.is_seven_bit = self.headers_are_ascii = whole.isascii()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size, self.piece):
            await asyncio.sleep(0)
            if self.error is not None and start + self.piece >= self.size:
                raise self.error
            yield self.whole[start : start + self.piece]


@every_way("folders")
async def test_it_is_there_as_it_was_written_seen_and_of_its_time(post: Post) -> None:
    post.make("Copies")
    mail = message("appended", 300)
    async with post.open() as account:
        box = folder_of(account, "Copies")
        place = await box.append(mail, {"seen"}, WHEN)
        [listed] = await all_listed(box)
        [copy] = await fetched(box, [listed.place])
        assert copy.content == mail
        assert abs(copy.received_at - WHEN) < timedelta(seconds=1)
        assert place == listed.place
    assert post.contents("Copies") == [mail]
    assert "\\Seen" in post.flags("Copies")[0]


@every_way("folders")
@pytest.mark.parametrize("size", [10, 4096, 4097, 3_000_000])
async def test_of_any_size_and_in_any_pieces_it_is_whole(post: Post, size: int) -> None:
    post.make("Copies")
    mail = message("large", size)
    async with post.open() as account:
        box = folder_of(account, "Copies")
        await box.append(Pieces(mail, max(7, size // 45)))
        await box.append(mail)
        copies = await fetched(box, [one.place for one in await all_listed(box)])
    assert [copy.content for copy in copies] == [mail, mail]


@every_way("folders")
async def test_a_reader_goes_on_beside_it_and_finds_it(post: Post) -> None:
    post.put(message("first"))
    async with post.open() as account:
        box = folder_of(account, "INBOX")
        before = await box.list(None, 10)
        await asyncio.gather(box.append(message("second")), box.append(message("third"), {"seen", "flagged"}))
        assert "INBOX" in await account.changed()
        assert sorted(await subjects(box, before.cursor)) == ["second", "third"]


@every_way("folders")
async def test_a_folder_that_is_not_there_is_missing_and_the_account_goes_on(post: Post) -> None:
    async with post.open() as account:
        await all_listed(account.folder("INBOX"))  # some servers make the mailbox only then
        for size in (10, 100_000):
            with pytest.raises(Missing):
                await folder_of(account, "Nowhere").append(message("lost", size))
        await folder_of(account, "INBOX").append(message("kept"))
    assert len(post.contents()) == 1


@every_way("folders")
async def test_what_is_not_written_to_its_end_is_not_there(post: Post) -> None:
    post.put(message("first"))
    async with post.open() as account:
        with pytest.raises(ZeroDivisionError):
            await folder_of(account, "INBOX").append(Pieces(message("torn", 200_000), 50_000, ZeroDivisionError()))
    async with post.open() as account:
        assert await subjects(account.folder("INBOX")) == ["first"]


@every_way()
async def test_a_kind_says_whether_it_can(post: Post) -> None:
    assert post.appends is post.can("folders")
    async with post.open() as account:
        assert isinstance(account.folder("INBOX"), WritableMailbox) is post.appends
