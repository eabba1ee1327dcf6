"""What readers do with an account, for tests."""

from collections.abc import Sequence

from transports.base import Cursor, Listed, Mailbox, Part, Place, Received


def message(subject: str, size: int = 0) -> bytes:
    """Write a small message, or one with about `size` bytes in lines."""
    text = b"x" * 70 + b"\r\n"
    head = f"From: a@out.test\r\nTo: b@in.test\r\nSubject: {subject}\r\nMessage-ID: <{subject}@out.test>\r\n\r\n"
    return head.encode() + text * max(1, size // len(text))


async def all_listed(box: Mailbox, after: Cursor | None = None) -> Sequence[Listed]:
    """List to the end, so that the folder counts as listed."""
    listing = await box.list(after, 1000)
    assert not listing.more
    return listing.copies


async def fetched(box: Mailbox, places: Sequence[Place], part: Part = "whole") -> list[Received]:
    return [copy async for copy in box.fetch(places, part)]


async def subjects(box: Mailbox, after: Cursor | None = None) -> list[str]:
    """What is listed after the cursor, by subject."""
    copies = await fetched(box, [listed.place for listed in await all_listed(box, after)], "headers")
    return [copy.content.decode().partition("Subject: ")[2].partition("\r\n")[0] for copy in copies]
