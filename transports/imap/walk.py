"""Going through a folder from its lowest UID to its highest, a page at a time, whatever the gaps between them."""

from collections.abc import Sequence

from transports.base import PAGE
from transports.imap.connection import ImapConnection
from transports.imap.fetch import search

FIRST_WIDTH = 4 * PAGE
"""UIDs that are asked about at first."""

OVER_A_GAP = 8
"""How much wider it looks where nothing was there: 4,000 million UIDs are 8 looks."""


class Walk:
    """Asks about one range of UIDs after another, so that no answer is as long as the folder."""

    def __init__(self, first: int, last: int) -> None:
        self._next = first
        self._last = last
        self._width = FIRST_WIDTH

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self._next > self._last

    async def next(self, imap: ImapConnection) -> Sequence[int]:
        """Return the next UIDs of the selected folder, at most `PAGE`; none where the range was empty."""
        begin, end = self._next, min(self._next + self._width - 1, self._last)
        found = sorted(uid for uid in await search(imap, "UID", f"{begin}:{end}") if begin <= uid <= end)
        if len(found) > PAGE:
            page = found[:PAGE]
            self._next, self._width = page[-1] + 1, max(PAGE, min(self._width, FIRST_WIDTH) // 2)
            return page
        self._next = end + 1
        self._width *= OVER_A_GAP if not found else 2 if len(found) < PAGE // 2 else 1
        return found
