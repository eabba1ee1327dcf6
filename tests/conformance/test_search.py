"""Mailbox.search: a person asks for a message; the server or its headers tell, and nothing is changed."""

from datetime import UTC, datetime, timedelta

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, message
from transports.base import Candidates, Wanted


def _mail(sender: str, subject: str, number: int) -> bytes:
    head = f"From: {sender}\r\nTo: b@in.test\r\nSubject: {subject}\r\nMessage-ID: <{number}@out.test>\r\n\r\n"
    return head.encode() + b"text\r\n"


def _ids(found: Candidates) -> list[str]:
    return [copy.content.decode().partition("Message-ID: <")[2].partition("@")[0] for copy in found.copies]


@every_way()
async def test_it_finds_what_is_known_of_a_message(post: Post) -> None:
    post.put(_mail("karl@kunde.test", "Your offer", 1), _mail("eve@other.test", "Offers of the week", 2))
    post.put(_mail('"K. \\"K\\" (x)" <karl@kunde.test>', "=?utf-8?q?Gr=C3=B6=C3=9Fe?=", 3))
    async with post.open() as account:
        box = account.folder("INBOX")
        for wanted, ids in (
            (Wanted(message_id="2@out.test"), {"2"}),
            (Wanted(sender="karl@kunde.test"), {"1", "3"}),
            (Wanted(sender="@kunde.test"), {"1", "3"}),
            (Wanted(words=("offer",), recipient="b@in.test"), {"1", "2"}),
            (Wanted(words=("Größe",)), {"1", "2", "3"}),
        ):
            found = await box.search(wanted, 100)
            # A server that cannot search shows all: whoever asks reads the headers.
            assert ids <= set(_ids(found)), wanted
            assert all(copy.content.endswith(b"\r\n\r\n") for copy in found.copies)


@every_way()
async def test_by_time_alone_it_shows_all_newest_first_or_says_that_it_does_not(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(5)))
    now = datetime.now(UTC)
    async with post.open() as account:
        box = account.folder("INBOX")
        places = [one.place for one in await all_listed(box)]
        lately = Wanted(since=now - timedelta(hours=1), until=now + timedelta(hours=1))
        found = await box.search(lately, 5)
        assert ([copy.place for copy in found.copies], found.certain) == (places[::-1], True)
        found = await box.search(lately, 2)
        assert ([copy.place for copy in found.copies], found.certain) == (places[:2:-1], False)


@every_way("folders")
async def test_of_another_time_there_is_nothing(post: Post) -> None:
    post.put(message("today"))
    now = datetime.now(UTC)
    async with post.open() as account:
        box = account.folder("INBOX")
        for since, until in ((now + timedelta(hours=2), None), (None, now - timedelta(hours=2))):
            assert await box.search(Wanted(since=since, until=until), 10) == Candidates((), certain=True)


@every_way("folders")
async def test_it_looks_into_folders_that_are_not_read_and_changes_nothing(post: Post) -> None:
    post.put(_mail("karl@kunde.test", "lost", 7), folder="Junk")
    post.put(message("read"))
    async with post.open(folders=["INBOX"]) as account:
        assert [one.name for one in await account.folders()] == ["INBOX"]
        assert {one.name: one.use for one in await account.all_folders()}.items() >= {
            "Junk": "junk",
            "INBOX": "inbox",
        }.items()
        box = account.folder("INBOX")
        listing = await box.list(None, 10)
        assert _ids(await account.folder("Junk").search(Wanted(sender="karl@kunde.test"), 10)) == ["7"]
        # Reading goes on where it was.
        post.put(message("next"))
        new = (await box.list(listing.cursor, 10)).copies
        assert len(new) == 1
        assert [copy.place async for copy in box.fetch([one.place for one in new], "headers")] == [new[0].place]
    assert post.flags("Junk") == [set()]
