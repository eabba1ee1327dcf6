"""Describes and fetches messages of the selected folder; one that the server cannot read spoils no other."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from transports.base import Listed, Part, Place, Received
from transports.errors import Temporary
from transports.imap.connection import ImapConnection
from transports.imap.decode import Value, fetched, internal_date, number, searched
from transports.imap.encode import uid_set
from transports.imap.position import is_valid
from transports.imap.reply import Reply

_WRITTEN = frozenset([b"\\sent", b"\\draft", b"\\drafts"])


async def search(imap: ImapConnection, *criteria: str) -> Sequence[int]:
    """Return the UIDs of the messages that meet the criteria (RFC 3501 §6.4.4)."""
    reply = (await imap.run("SEARCH", *criteria, uid=True)).require(f"{imap.peer} refuses SEARCH")
    return [uid for response in reply.data for uid in searched(response)]


async def describe(
    imap: ImapConnection, uids: Sequence[int], validity: str, *, all_mail: bool = False
) -> Sequence[Listed]:
    """Return size (bytes) and date of each that is there, in this order; `validity` is that of their places.

    `all_mail`: they lie in Gmail's All Mail; what was not received, but written, is left out.
    """
    if not uids:
        return []
    items = f"(UID RFC822.SIZE INTERNALDATE{' X-GM-LABELS' if all_mail else ''})"
    reply = await imap.run("FETCH", uid_set(uids), items, uid=True)
    found: dict[int, Listed] = {}
    written: set[int] = set()
    for response in reply.data:
        attributes = fetched(response) or {}
        uid, size = number(attributes.get(b"UID")), number(attributes.get(b"RFC822.SIZE"))
        if uid is not None and size is not None:
            received_at = internal_date(attributes.get(b"INTERNALDATE")) or datetime.now(UTC)
            found[uid] = Listed(Place(validity, str(uid)), size, received_at)
            if _is_written(attributes.get(b"X-GM-LABELS")):
                written.add(uid)
    missing = await _present_among(imap, [uid for uid in uids if uid not in found])
    if missing and reply.passing and reply.code != "SERVERBUG":
        raise reply.refusal(f"{imap.peer} refuses FETCH")
    if len(uids) > 1:
        for uid in missing:
            found |= {
                uid_of(listed.place): listed for listed in await describe(imap, [uid], validity, all_mail=all_mail)
            }
        if missing and not any(listed.size for listed in found.values()):
            raise Temporary(f"{imap.peer} describes none of {len(missing)} messages: {reply.words or reply.result}")
    else:
        # What is there but cannot be described must be listed all the same: fetching it will tell its fault.
        found |= {uid: Listed(Place(validity, str(uid)), 0, datetime.now(UTC)) for uid in missing}
    return [found[uid] for uid in uids if uid in found and uid not in written]


async def contents(imap: ImapConnection, group: Sequence[Listed], part: Part) -> dict[int, Received | Reply]:
    """Fetch what is there of the group, by UID: each message, or the reply with which the server kept it back.

    Under another UIDVALIDITY these are other messages: none is returned. A content shorter than RFC822.SIZE is no
    fault: on some servers (Exchange) that is only an estimate. A literal is whole, since the rest of one that was
    announced too short would be no IMAP, and end the connection.
    """
    wanted = {uid_of(one.place): one for one in group if is_valid(one.place, imap.known.validity)}
    if not wanted:
        return {}
    item = "BODY[]" if part == "whole" else "BODY[HEADER]"
    reply = await imap.run("FETCH", uid_set(wanted), f"(UID {item.replace('[', '.PEEK[')})", uid=True)
    found: dict[int, Received | Reply] = {}
    for response in reply.data:
        attributes = fetched(response) or {}
        uid, content = number(attributes.get(b"UID")), attributes.get(item.encode())
        if uid is not None and isinstance(content, bytes) and (one := wanted.get(uid)):
            found[uid] = Received(one.place, content, one.received_at)
    missing: Sequence[int] = [uid for uid in wanted if uid not in found]
    if not reply.passing:
        missing = await _present_among(imap, missing)
    return found | dict.fromkeys(missing, reply)


def faulty(place: Place, cause: str) -> Received:
    """Make the copy that could not be fetched."""
    return Received(place, b"", datetime.now(UTC), fault=cause)


def uid_of(place: Place) -> int:
    """Return the UID of a place of ours."""
    return int(place.id)


def uids_of(places: Iterable[Place], validity: str) -> Sequence[int]:
    """Return the UIDs of those places that have this validity."""
    valid = (place.id for place in places if place.validity == validity)
    return [int(uid) for uid in valid if uid.isascii() and uid.isdecimal()]


def _is_written(labels: Value) -> bool:
    names = {label.lower() for label in labels if isinstance(label, bytes)} if isinstance(labels, list) else set()
    # Who writes to oneself also receives it.
    return not names.isdisjoint(_WRITTEN) and b"\\inbox" not in names


async def _present_among(imap: ImapConnection, uids: Sequence[int]) -> Sequence[int]:
    """Return which of these UIDs are still there."""
    if not uids:
        return []
    (await imap.run("NOOP")).require(f"{imap.peer} refuses NOOP")
    return sorted(set(await search(imap, "UID", uid_set(uids))) & set(uids))
