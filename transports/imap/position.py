"""Where the reading of a folder stands, and what SELECT says about it.

A folder that is restored from a backup may keep its UIDVALIDITY and go back all the same: messages that come later get
UIDs at or below the cursor, which other messages had before. In all other folders UIDNEXT and HIGHESTMODSEQ (RFC 7162
§3.1.2.1) only ever grow; so a folder went back if one of them is lower than the cursor says. A new generation of places
begins whenever a cursor is lost, so that no UID is taken for the message that had it before.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from transports.base import Cursor, Place
from transports.imap.decode import Response, fetched, number, vanished
from transports.imap.watch import HIGHEST_UID

ASKED_UIDS = 500
"""How many UIDs beyond the cursor SELECT is asked about. Of more, SEARCH tells in fewer bytes."""

_CURSOR = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,9}))?:([0-9]{1,10})(?::([0-9]{1,20}))?(?:(\+)([0-9]{1,10})?)?")


@dataclass(frozen=True, slots=True)
class Position:
    """The last UID seen, under a UIDVALIDITY, and the HIGHESTMODSEQ told by then (0: none was).

    `after_all`: reading began behind all that lay there, of which `start` was the last UID (None: not noted). As a
    cursor it is "UIDVALIDITY.GENERATION:UID:HIGHESTMODSEQ+START", without what is 0, and with "+" only if reading began
    so.
    """

    validity: str
    uid: int
    modseq: int = 0
    generation: int = 0
    after_all: bool = False
    start: int | None = None

    @classmethod
    def read(cls, cursor: Cursor) -> Self | None:
        """Read a cursor; None if it is none of ours."""
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            return None
        start = None if match[6] is None else int(match[6])
        return cls(match[1], int(match[3]), int(match[4] or 0), int(match[2] or 0), bool(match[5]), start)

    @property
    def cursor(self) -> Cursor:
        """Itself, as text that outlives the connection."""
        modseq = f":{self.modseq}" if self.modseq else ""
        start = "" if self.start is None else self.start
        began = f"+{start}" if self.after_all else ""
        return Cursor(f"{valid_in(self.validity, self.generation)}:{self.uid}{modseq}{began}")

    def since_start(self, uid: int) -> bool | None:
        """Whether a UID was given out after reading began behind all that lay there; None where nothing tells."""
        return None if self.start is None else uid > self.start

    @property
    def resync(self) -> str:
        """The parameter that makes SELECT name what is beyond it (RFC 7162 §3.2.5).

        That may have come before HIGHESTMODSEQ was told, but has changed since the modification sequence 1. Flags of
        what is known are not asked for.
        """
        first, last = min(self.uid + 1, HIGHEST_UID), min(self.uid + ASKED_UIDS, HIGHEST_UID)
        return f"(QRESYNC ({self.validity} 1 {first}:{last}))"


@dataclass(frozen=True, slots=True)
class Opening:
    """What SELECT told of a folder: UIDNEXT, HIGHESTMODSEQ (0: nothing), which UIDs are there and which are gone."""

    uidnext: int
    modseq: int
    there: frozenset[int]
    gone: Sequence[range]

    @classmethod
    def read(cls, numbers: Mapping[str, int], data: Sequence[Response]) -> Self:
        """Read the answer to SELECT; `numbers` are its response codes."""
        uids = (number((fetched(response) or {}).get(b"UID")) for response in data)
        return cls(
            numbers.get("UIDNEXT", 0),
            numbers.get("HIGHESTMODSEQ", 0),
            frozenset(uid for uid in uids if uid is not None),
            [span for response in data for span in vanished(response)],
        )

    def beyond(self, uid: int) -> Sequence[int] | None:
        """Return which UIDs beyond this one there are, in order; None unless it told of each, up to UIDNEXT."""
        beyond = range(uid + 1, self.uidnext)
        if self.uidnext <= uid or len(beyond) > ASKED_UIDS:
            return None
        clipped = (range(max(span.start, beyond.start), min(span.stop, beyond.stop)) for span in self.gone)
        if not self.there.union(*clipped).issuperset(beyond):
            return None
        return [one for one in beyond if one in self.there]


def valid_in(validity: str, generation: int) -> str:
    """Return what places of this UIDVALIDITY have for `validity`."""
    return f"{validity}.{generation}" if generation else validity


def is_valid(place: Place, validity: str) -> bool:
    """Whether a place is one under this UIDVALIDITY, of whatever generation."""
    return place.validity.partition(".")[0] == validity
