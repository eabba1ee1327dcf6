"""Looking for messages by what a person knows of them: SEARCH (RFC 3501 §6.4.4), in a folder that is only examined.

Servers differ in what they find: by words or by parts of words, in encoded headers or not, and with or without a
charset. So only ASCII is asked for, and whoever asked reads the headers of what was found.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from transports.base import Candidates, Listed, Received, Wanted
from transports.imap.connection import ImapConnection
from transports.imap.encode import date, quoted
from transports.imap.fetch import contents, describe, search, uid_of
from transports.imap.session import ImapSession

_UIDS = 500  # in one command, as servers limit the length of a line
_HEADERS = 100  # that one command brings
_DAY = timedelta(days=1)

_T = TypeVar("_T")


async def look_for(
    session: ImapSession, folder: str, wanted: Wanted, limit: int, validity_of: Callable[[ImapConnection], str]
) -> Candidates:
    """Find candidates in one folder; `validity_of` tells that of their places. See `Mailbox.search`."""
    async with session.exclusive() as imap:
        try:
            await session.select(folder, read_only=True)
            inexact = list(_inexact(wanted))
            found = sorted(await search(imap, *_dated(wanted), *inexact))
            listed = await _described(imap, found[-limit:], validity_of(imap))
            in_time = [one for one in listed if wanted.came_in_time(one.received_at)]
            copies = [copy for chunk in _chunks(in_time, _HEADERS) for copy in await _headers(imap, chunk)]
        finally:
            # A folder that was only examined cannot be settled in.
            session.forget_selected()
    certain = not inexact and len(found) <= limit and len(copies) == len(in_time)
    return Candidates(tuple(reversed(copies)), certain=certain)


def _dated(wanted: Wanted) -> Iterator[str]:
    """Yield criteria by the day; the server takes it in its own time zone, so each is a day wider."""
    yield "ALL"
    if wanted.since is not None:
        yield f"SINCE {_day(wanted.since, -_DAY)}"
    if wanted.until is not None:
        yield f"BEFORE {_day(wanted.until, 2 * _DAY)}"


def _inexact(wanted: Wanted) -> Iterator[str]:
    """Yield criteria that servers understand each in its own way."""
    if _is_plain(wanted.message_id):
        yield f"HEADER Message-ID {quoted(wanted.message_id)}"
    if _is_plain(wanted.sender):
        yield f"FROM {quoted(wanted.sender)}"
    if _is_plain(wanted.recipient):
        address = quoted(wanted.recipient)
        yield f"OR TO {address} OR CC {address} BCC {address}"
    yield from (f"SUBJECT {quoted(word)}" for word in wanted.words if _is_plain(word))


def _is_plain(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _day(moment: datetime, by: timedelta) -> str:
    """Put the day of a moment, moved by days, as RFC 3501 §9 has it."""
    try:
        return date(moment.astimezone(UTC) + by)
    except OverflowError:
        return date(moment)


async def _described(imap: ImapConnection, uids: Sequence[int], validity: str) -> list[Listed]:
    return [one for chunk in _chunks(uids, _UIDS) for one in await describe(imap, chunk, validity)]


async def _headers(imap: ImapConnection, listed: Sequence[Listed]) -> list[Received]:
    """Fetch header blocks; what the server keeps back is nothing that can be looked at."""
    found = await contents(imap, listed, "headers")
    copies = (found.get(uid_of(one.place)) for one in listed)
    return [copy for copy in copies if isinstance(copy, Received)]


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
