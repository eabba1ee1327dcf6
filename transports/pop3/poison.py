"""Reads messages so that a poison message stops no other message, and no sound message is given up.

See transports/_poison.py. What the server refuses, what costs the connection and what is not answered is read again,
alone, in a new session, since it may be gone by now, or readable after all. If it is refused again, that takes proof.
"""

from collections.abc import Sequence

from transports._poison import OTHERS, least_bytes, patience, unproven
from transports.base import Part
from transports.errors import Unreachable
from transports.pop3.connection import Silent
from transports.pop3.contents import heads, wholes
from transports.pop3.reply import Refused
from transports.pop3.session import Sessions

Content = bytes | Refused
"""A message, or why the server does not give it up."""


async def read_isolating(sessions: Sessions, ids: Sequence[str], part: Part) -> dict[str, Content]:
    """Read these; what is gone is left out. Raises Temporary if none need be at fault."""
    try:
        found = await _read(sessions, ids, part)
    except Unreachable:
        found = dict.fromkeys(ids, Refused(""))
    for id_ in [id_ for id_, content in found.items() if isinstance(content, Refused)]:
        del found[id_]
        found |= await _read_alone(sessions, id_, part)
    return found


async def _read_alone(sessions: Sessions, id_: str, part: Part) -> dict[str, Content]:
    async with sessions.exclusive(fresh=True):
        pass
    message, silent = (sessions.account, id_), False
    try:
        found = await _read(sessions, [id_], part)
        answer = found.get(id_)
        if not isinstance(answer, Refused):
            patience.forget(*message)
            return found
    except Unreachable as lost:
        answer, silent = Refused(str(lost)), isinstance(lost, Silent)
    if not patience.is_over(*message) and not await _another_comes(sessions, id_, silent=silent):
        raise unproven(f"a message of {sessions.mailbox}", answer)
    patience.forget(*message)
    return {id_: answer}


async def _another_comes(sessions: Sessions, id_: str, *, silent: bool) -> bool:
    async with sessions.exclusive() as connection:
        sizes = {other: connection.maildrop.sizes[numbers[0]] for other, numbers in connection.maildrop.numbers.items()}
    least = least_bytes(sizes.pop(id_, 0), silent=silent)
    others = sorted((size, other) for other, size in sizes.items() if size >= least)[:OTHERS]
    for _, other in others:
        try:
            if isinstance((await _read(sessions, [other], "whole")).get(other), bytes):
                return True
        except Unreachable:
            continue
    return False


async def _read(sessions: Sessions, ids: Sequence[str], part: Part) -> dict[str, Content]:
    async with sessions.exclusive() as connection:
        numbers = {id_: connection.maildrop.numbers[id_][0] for id_ in ids if id_ in connection.maildrop.numbers}
        sizes = {number: connection.maildrop.sizes[number] for number in numbers.values()}
        contents = await connection.run(
            lambda wire: list(heads(wire, [*sizes]) if part == "headers" else wholes(wire, sizes))
        )
        # Refused may be what is gone: only another session tells.
        connection.stale = connection.stale or any(isinstance(content, Refused) for content in contents)
    return dict(zip(numbers, contents, strict=True))
