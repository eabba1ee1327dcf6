"""Fetches messages so that a poison message stops no other message, and no sound message is given up.

See transports/_poison.py. What a FETCH does not bring is asked for again, one message at a time, over a new connection
where the FETCH cost the connection.
"""

from collections.abc import Sequence

from transports._poison import FULL_PACKETS, OTHERS, least_bytes, patience, unproven
from transports.base import Listed, Part, Received
from transports.errors import Permanent, Temporary, Unreachable
from transports.imap.decode import fetched
from transports.imap.fetch import contents, faulty, search, uid_of
from transports.imap.reply import Reply
from transports.imap.session import ImapSession


async def fetch_isolating(
    session: ImapSession, folder: str, group: Sequence[Listed], part: Part
) -> dict[int, Received]:
    """Fetch the messages by UID; a poison message is a copy with a fault, and one that is gone is left out.

    Raises Temporary for a message that does not come though nothing proves that it is poison.
    """
    copies: dict[int, Received] = {}
    try:
        found = await contents(session.connection, group, part)
        copies = {uid: copy for uid, copy in found.items() if isinstance(copy, Received)}
        doubtful = [one for one in group if isinstance(found.get(uid_of(one.place)), Reply)]
    except Unreachable:
        await _reconnect(session, folder)
        doubtful = list(group)
    for one in doubtful:
        copies |= await _fetch_alone(session, folder, one, part, tries=1 if len(group) == 1 else 2)
    return copies


async def _fetch_alone(session: ImapSession, folder: str, one: Listed, part: Part, tries: int) -> dict[int, Received]:
    """Fetch one message; what costs the connection is asked for `tries` times, since a connection may end by chance."""
    message = (session.account, folder, one.place.validity, one.place.id)
    uid, silent = uid_of(one.place), False
    try:
        answer = (await contents(session.connection, [one], part)).get(uid)
        if not isinstance(answer, Reply):
            patience.forget(*message)
            return {uid: answer} if answer else {}
        words = "the server sends everything but the message" if answer.ok else answer.words or answer.result
    except Unreachable as lost:
        answer, words, silent = None, str(lost), session.connection.silent
        await _reconnect(session, folder)
        if tries > 1:
            return await _fetch_alone(session, folder, one, part, tries - 1)
    given_up = patience.is_over(*message)
    if answer is not None and answer.passing and answer.code != "SERVERBUG" and not given_up:
        raise answer.refusal(f"{session.connection.peer} refuses FETCH")
    proof = await _proof(session, folder, one, silent=silent)
    if not (given_up if proof is None else proof):
        # A connection may be all that is in trouble (Exchange: "User is authenticated but not connected").
        await _reconnect(session, folder)
        raise unproven(f"message {one.place.id} of {folder} ({one.size} bytes)", words)
    patience.forget(*message)
    return {uid: faulty(one.place, words)}


async def _proof(session: ImapSession, folder: str, one: Listed, *, silent: bool) -> bool | None:
    """Whether another message comes; None if there is no other."""
    least = least_bytes(one.size, silent=silent)
    try:
        alike = await search(session.connection, *(("LARGER", str(least - 1)) if least > 1 else ("ALL",)))
    except (Permanent, Temporary):
        return False
    others = sorted(set(alike) - {uid_of(one.place)}, reverse=True)
    for uid in others[:OTHERS]:
        try:
            if await _delivers(session, uid):
                return True
        except Unreachable:
            await _reconnect(session, folder)
    return False if others else None


async def _delivers(session: ImapSession, uid: int) -> bool:
    """Whether the beginning of a message comes."""
    reply = await session.connection.run("FETCH", str(uid), f"(UID BODY.PEEK[]<0.{FULL_PACKETS}>)", uid=True)
    return any(isinstance((fetched(response) or {}).get(b"BODY[]<0>"), bytes) for response in reply.data)


async def _reconnect(session: ImapSession, folder: str) -> None:
    await session.connect()
    await session.select(folder)
