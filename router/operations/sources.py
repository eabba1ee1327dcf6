"""Mailboxes and other sources, page by page: what became of what came, and what is wrong with each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from router.operations.backing import Backing
from router.repository.overview import status
from router.repository.overview.status import LastAudit, SourceFilter, SourceStatus

__all__ = ["PAGE", "STATES", "LastAudit", "Place", "SourceStatus", "Sources", "list_after", "list_page"]

PAGE: Final = 100

STATES: Final = ("", "wrong", "idle", "read", "former")
"""Which sources are listed: all, those in trouble, that nobody reads, that are read, and that are not to be read."""

Place = tuple[str, str, str]
"""Profile, mailbox and folder of the last source of a page."""


@dataclass(frozen=True, slots=True)
class Sources:
    """A page of sources, how many there are in each state, and where the next page begins; None: that is all."""

    sources: Sequence[SourceStatus]
    counts: Mapping[str, int]
    goes_on: Place | None


async def list_after(backing: Backing, after: Place, limit: int) -> Sequence[SourceStatus]:
    """List sources by profile, mailbox and folder, those after a place."""
    return await status.list_sources(backing.database, backing.lease, SourceFilter("", ""), after, limit)


async def list_page(backing: Backing, text: str, state: str, after: Place = ("", "", "")) -> Sources:
    """List sources with this text in their names, in this state, after a place."""
    state = state if state in STATES else ""
    found = await status.list_sources(backing.database, backing.lease, SourceFilter(text, state), after, PAGE + 1)
    shown = found[:PAGE]
    last = shown[-1] if len(found) > PAGE else None
    return Sources(
        shown,
        await status.count_sources(backing.database, backing.lease, text),
        (last.profile, last.mailbox, last.folder) if last else None,
    )
