"""Reading messages such that one that cannot be read spoils no other, and none is given up that is sound.

What is refused, costs the connection or never comes is tried again, alone, in another session: it may be gone, or be
read after all. If not, the server's word that it will not is believed. All else may be a server in trouble, or a
network that loses large packets: so another message, after silence one that fills a packet as well, must come, or this
one have lain there for a day; else it is tried again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from transports.base import Part, Temporary, Unreachable
from transports.pop3.connection import Silent
from transports.pop3.contents import heads, wholes
from transports.pop3.reply import Refused

if TYPE_CHECKING:
    from transports.pop3.account import Pop3Account

Content = bytes | Refused
"""A message, or why the server does not give it up."""

FULL_PACKETS = 16 << 10
"""Bytes that cannot be sent without packets of full size, jumbo frames (9,000 bytes) included."""

OTHERS = 3
"""How many others are asked for, as they may be faulty too."""

PATIENCE = timedelta(days=1)


async def read_in_spite(
    account: Pop3Account, ids: Sequence[str], part: Part, times: Mapping[str, datetime]
) -> dict[str, Content]:
    """Read these, which came at these times; what is gone is left out. Raises Temporary if none need be at fault."""
    try:
        found = await _read(account, ids, part)
    except Unreachable:
        found = dict.fromkeys(ids, Refused(""))
    for id_ in [id_ for id_, content in found.items() if isinstance(content, Refused)]:
        del found[id_]
        found |= await _read_alone(account, id_, part, times)
    return found


async def _read_alone(account: Pop3Account, id_: str, part: Part, times: Mapping[str, datetime]) -> dict[str, Content]:
    async with account.turn(fresh=True):
        pass
    silent = False
    try:
        found = await _read(account, [id_], part)
        answer = found.get(id_)
        if not isinstance(answer, Refused) or not answer.passing:
            return found
    except Unreachable as lost:
        answer, silent = Refused(str(lost)), isinstance(lost, Silent)
    waited = datetime.now(UTC) - times.get(id_, datetime.now(UTC))
    if waited < PATIENCE and not await _is_at_fault(account, id_, silent=silent):
        raise Temporary(
            f"a message of {account.mailbox} does not come, nor does another like it: {answer}; "
            "does the network lose large packets (MTU), or is the server in trouble?"
        )
    return {id_: answer}


async def _is_at_fault(account: Pop3Account, id_: str, *, silent: bool) -> bool:
    async with account.turn() as session:
        sizes = {other: session.maildrop.sizes[numbers[0]] for other, numbers in session.maildrop.numbers.items()}
    least = min(sizes.pop(id_, 0), FULL_PACKETS) if silent else 0
    others = sorted((size, other) for other, size in sizes.items() if size >= least)[:OTHERS]
    for _, other in others:
        try:
            if isinstance((await _read(account, [other], "whole")).get(other), bytes):
                return True
        except Unreachable:
            continue
    return not others and not silent


async def _read(account: Pop3Account, ids: Sequence[str], part: Part) -> dict[str, Content]:
    async with account.turn() as session:
        numbers = {id_: session.maildrop.numbers[id_][0] for id_ in ids if id_ in session.maildrop.numbers}
        sizes = {number: session.maildrop.sizes[number] for number in numbers.values()}
        contents = await session.run(
            lambda wire: list(heads(wire, [*sizes]) if part == "headers" else wholes(wire, sizes))
        )
        # Refused may be what is gone: only another session tells.
        session.stale = session.stale or any(isinstance(content, Refused) for content in contents)
    return dict(zip(numbers, contents, strict=True))
