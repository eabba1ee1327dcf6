"""Describing and fetching messages of the selected folder, such that one that cannot be read spoils no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from transports._imap_protocol import ImapProtocol
from transports._imap_request import uid_set
from transports._imap_response import LITERAL_LIMIT, fetched, internal_date, searched
from transports.base import Listed, Part, Place, Received, Unreachable

if TYPE_CHECKING:
    from transports._imap_account import ImapAccount

FETCH_UIDS = 200
FETCH_BYTES = 4 << 20
"""What one FETCH of contents asks for at most; a larger message is fetched alone."""

__all__ = ["LITERAL_LIMIT", "describe", "faulty", "fetch_in_spite", "groups", "search", "uids_of"]


async def search(imap: ImapProtocol, uids: str) -> Sequence[int]:
    """Return which UIDs of a set there are."""
    reply = (await imap.run("SEARCH", "UID", uids, uid=True)).require(f"{imap.peer} refuses SEARCH")
    return [uid for response in reply.data for uid in searched(response)]


async def describe(imap: ImapProtocol, uids: Sequence[int]) -> Sequence[Listed]:
    """Return size and date of each that is there, in this order."""
    if not uids:
        return []
    reply = await imap.run("FETCH", uid_set(uids), "(UID RFC822.SIZE INTERNALDATE)", uid=True)
    found: dict[int, Listed] = {}
    for response in reply.data:
        attributes = fetched(response) or {}
        uid, size = attributes.get(b"UID"), attributes.get(b"RFC822.SIZE")
        if isinstance(uid, bytes) and isinstance(size, bytes) and uid.isdigit() and size.isdigit():
            received_at = internal_date(attributes.get(b"INTERNALDATE")) or datetime.now(UTC)
            found[int(uid)] = Listed(_place(imap, int(uid)), int(size), received_at)
    missing = await _present_among(imap, [uid for uid in uids if uid not in found])
    if missing and reply.passing and reply.code != "SERVERBUG":
        raise reply.refusal(f"{imap.peer} refuses FETCH")
    # What is there but cannot be described must be listed all the same: fetching it will tell its fault.
    found |= {uid: Listed(_place(imap, uid), 0, datetime.now(UTC)) for uid in missing}
    return [found[uid] for uid in uids if uid in found]


async def fetch_in_spite(account: ImapAccount, folder: str, group: Sequence[Listed], part: Part) -> dict[int, Received]:
    """Fetch, even if one of them makes the server drop the connection, alone and twice: that one is faulty.

    Dovecot does so where a file is torn. Under another UIDVALIDITY these are other messages: none is returned.
    """
    try:
        return await _contents(account.imap, group, part)
    except Unreachable:
        await _reconnect(account, folder)
    if len(group) > 1:
        copies: dict[int, Received] = {}
        for one in group:
            copies |= await fetch_in_spite(account, folder, [one], part)
        return copies
    try:
        return await _contents(account.imap, group, part)
    except Unreachable as lost:
        await _reconnect(account, folder)
        return {uid_of(one.place): faulty(one.place, str(lost)) for one in group}


def faulty(place: Place, words: str) -> Received:
    """Make the copy that could not be had."""
    return Received(place, b"", datetime.now(UTC), fault=f"the server did not give it up: {words}")


def groups(described: Iterable[Listed]) -> Iterator[Sequence[Listed]]:
    """Cut into what is fetched at once: not too many, and not too large together."""
    group: list[Listed] = []
    total = 0
    for one in described:
        if group and (len(group) == FETCH_UIDS or total + one.size > FETCH_BYTES):
            yield group
            group, total = [], 0
        group.append(one)
        total += one.size
    if group:
        yield group


def uid_of(place: Place) -> int:
    """Return the UID of a place of ours."""
    return int(place.id)


def uids_of(places: Iterable[Place], validity: str) -> Sequence[int]:
    """Return the UIDs of those places that mean something under this UIDVALIDITY."""
    valid = (place.id for place in places if place.validity == validity)
    return [int(uid) for uid in valid if uid.isascii() and uid.isdecimal()]


async def _reconnect(account: ImapAccount, folder: str) -> None:
    await account.connect()
    await account.select(folder)


async def _contents(imap: ImapProtocol, group: Sequence[Listed], part: Part) -> dict[int, Received]:
    wanted = {uid_of(one.place): one for one in group if one.place.validity == imap.validity}
    if not wanted:
        return {}
    item = "BODY[]" if part == "whole" else "BODY[HEADER]"
    reply = await imap.run("FETCH", uid_set(wanted), f"(UID {item.replace('[', '.PEEK[')})", uid=True)
    copies: dict[int, Received] = {}
    for response in reply.data:
        attributes = fetched(response) or {}
        uid, content = attributes.get(b"UID"), attributes.get(item.encode())
        if isinstance(uid, bytes) and isinstance(content, bytes) and uid.isdigit() and (one := wanted.get(int(uid))):
            copies[int(uid)] = Received(one.place, content, one.received_at)
    missing = [uid for uid in wanted if uid not in copies]
    if missing and reply.passing and reply.code != "SERVERBUG":
        raise reply.refusal(f"{imap.peer} refuses FETCH")
    # Gone, or unreadable: one that cannot be read spoils no other, so each is asked for alone.
    for unread in await _present_among(imap, missing):
        if len(wanted) > 1:
            copies |= await _contents(imap, [wanted[unread]], part)
        else:
            copies[unread] = faulty(wanted[unread].place, reply.words)
    return copies


async def _present_among(imap: ImapProtocol, uids: Sequence[int]) -> Sequence[int]:
    """Return which of them are still there."""
    if not uids:
        return []
    (await imap.run("NOOP")).require(f"{imap.peer} refuses NOOP")
    return sorted(set(await search(imap, uid_set(uids))) & set(uids))


def _place(imap: ImapProtocol, uid: int) -> Place:
    return Place(imap.validity, str(uid))
