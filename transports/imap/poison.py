"""Fetches messages so that a poison message stops no other message, and no sound message is given up.

See transports/_poison.py. A FETCH that costs the connection is repeated over a new connection, one message at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from transports._poison import FULL_PACKETS, OTHERS, PATIENCE, least_bytes, unproven
from transports.base import Listed, Part, Received, Unreachable
from transports.imap.decode import fetched
from transports.imap.fetch import contents, faulty, search, uid_of

if TYPE_CHECKING:
    from transports.imap.account import ImapAccount


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
        raise unproven(f"message {one.place.id} of {folder} ({one.size} bytes)", words)
    return {uid_of(one.place): faulty(one.place, words)}


async def _is_at_fault(account: ImapAccount, folder: str, one: Listed, *, silent: bool) -> bool:
    least = least_bytes(one.size, silent=silent)
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
