"""Whose fault it is that a FETCH costs the connection: the message's, or the server's and the network's.

Dovecot drops it where a file is torn, and some servers fall silent; such a message must not stop its folder. But a
network that loses large packets, or a server in trouble, does the same to messages that are sound, and those must not
be given up. So one that costs the connection alone, and twice, is faulty only if the server gives up others, asked
right after it: any other where the server hung up, one that fills a packet as well where it fell silent. If it does
not, the folder is tried again later. Where there is no other to ask, a server that hung up is taken at its word, and
silence is borne until the message has lain there for some hours; so none stops its folder for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from transports.base import Listed, Part, Received, Temporary, Unreachable
from transports.imap.decode import fetched
from transports.imap.fetch import contents, faulty, search, uid_of

if TYPE_CHECKING:
    from transports.imap.account import ImapAccount

FULL_PACKETS = 16 << 10
"""Bytes that cannot be sent without packets of full size, jumbo frames (9,000 bytes) included."""

OTHERS = 3
"""How many others are asked for, as they may be faulty too."""

PATIENCE = timedelta(hours=4)


async def fetch_in_spite(account: ImapAccount, folder: str, group: Sequence[Listed], part: Part) -> dict[int, Received]:
    """Fetch, by UID, even if one of them costs the connection. Raises Temporary if it seems to be no fault of its own.

    What is gone is left out.
    """
    try:
        return await contents(account.imap, group, part)
    except Unreachable:
        await _reconnect(account, folder)
    if len(group) > 1:
        copies: dict[int, Received] = {}
        for one in group:
            copies |= await fetch_in_spite(account, folder, [one], part)
        return copies
    try:
        return await contents(account.imap, group, part)
    except Unreachable as lost:
        words, silent = str(lost), account.imap.silent
        await _reconnect(account, folder)
    (one,) = group
    if not await _is_at_fault(account, folder, one, silent=silent):
        raise Temporary(
            f"message {one.place.id} of {folder} ({one.size} bytes) does not come, nor does another like it: {words}; "
            "does the network lose large packets (MTU), or is the server in trouble?"
        )
    return {uid_of(one.place): faulty(one.place, words)}


async def _is_at_fault(account: ImapAccount, folder: str, one: Listed, *, silent: bool) -> bool:
    least = min(one.size, FULL_PACKETS) if silent else 0
    alike = await search(account.imap, *(("LARGER", str(least - 1)) if least > 1 else ("ALL",)))
    others = sorted(set(alike) - {uid_of(one.place)}, reverse=True)
    for uid in others[:OTHERS]:
        try:
            if await _begins(account, uid):
                return True
        except Unreachable:
            await _reconnect(account, folder)
    return not others and (not silent or datetime.now(UTC) - one.received_at > PATIENCE)


async def _begins(account: ImapAccount, uid: int) -> bool:
    """Whether the server gives up the beginning of a message."""
    reply = await account.imap.run("FETCH", str(uid), f"(UID BODY.PEEK[]<0.{FULL_PACKETS}>)", uid=True)
    return any(isinstance((fetched(response) or {}).get(b"BODY[]<0>"), bytes) for response in reply.data)


async def _reconnect(account: ImapAccount, folder: str) -> None:
    await account.connect()
    await account.select(folder)
