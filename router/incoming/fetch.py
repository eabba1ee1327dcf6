"""Messages are fetched a few at a time, by whoever goes through a mailbox beside its reader."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from transports.base import Mailbox, Part, Place, Received

WHOLE: Final = 10
"""Whole messages that are in memory at once, at most."""

_BYTES: Final = 4 << 20  # of what is in memory at once, unless one message is larger


async def fetch_groups(
    mailbox: Mailbox, places: Sequence[Place], part: Part, most: int = WHOLE
) -> AsyncIterator[Sequence[Received]]:
    """Fetch some at a time, at most `most` and, unless one is larger, about 4 MiB. Raises TransportError."""
    group: list[Received] = []
    if places:
        async for one in mailbox.fetch(places, part):
            group.append(one)
            if len(group) == most or sum(len(other.content) for other in group) >= _BYTES:
                yield group
                group = []
    if group:
        yield group
