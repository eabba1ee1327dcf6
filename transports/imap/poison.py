"""Fetches messages so that a poison message stops no other message, and no sound message is given up.

See transports/_poison.py. A FETCH that costs the connection is repeated over a new connection, one message at a time.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from transports._poison import FULL_PACKETS, OTHERS, PATIENCE, least_bytes, unproven
from transports.base import Listed, Part, Received, Unreachable
from transports.imap.decode import fetched
from transports.imap.fetch import contents, faulty, search, uid_of
from transports.imap.session import ImapSession


async def fetch_isolating(
    session: ImapSession, folder: str, group: Sequence[Listed], part: Part
) -> dict[int, Received]:
    """Fetch the messages by UID; a poison message is a copy with a fault, and one that is gone is left out.

    Raises Temporary for a message that does not come though nothing proves that it is poison.
    """
    try:
        return await contents(session.connection, group, part)
    except Unreachable:
        await _reconnect(session, folder)
    if len(group) > 1:
        copies: dict[int, Received] = {}
        for one in group:
            copies |= await fetch_isolating(session, folder, [one], part)
        return copies
    try:
        return await contents(session.connection, group, part)
    except Unreachable as lost:
        words, silent = str(lost), session.connection.silent
        await _reconnect(session, folder)
    (one,) = group
    if not await _is_poison(session, folder, one, silent=silent):
        raise unproven(f"message {one.place.id} of {folder} ({one.size} bytes)", words)
    return {uid_of(one.place): faulty(one.place, words)}


async def _is_poison(session: ImapSession, folder: str, one: Listed, *, silent: bool) -> bool:
    least = least_bytes(one.size, silent=silent)
    alike = await search(session.connection, *(("LARGER", str(least - 1)) if least > 1 else ("ALL",)))
    others = sorted(set(alike) - {uid_of(one.place)}, reverse=True)
    for uid in others[:OTHERS]:
        try:
            if await _delivers(session, uid):
                return True
        except Unreachable:
            await _reconnect(session, folder)
    return not others and (not silent or datetime.now(UTC) - one.received_at > PATIENCE)


async def _delivers(session: ImapSession, uid: int) -> bool:
    """Whether the beginning of a message comes."""
    reply = await session.connection.run("FETCH", str(uid), f"(UID BODY.PEEK[]<0.{FULL_PACKETS}>)", uid=True)
    return any(isinstance((fetched(response) or {}).get(b"BODY[]<0>"), bytes) for response in reply.data)


async def _reconnect(session: ImapSession, folder: str) -> None:
    await session.connect()
    await session.select(folder)
