"""What is wrong with one part of the router, such as a mailbox or a relay: told once, and told when it is over."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self

import structlog

from router.errors import DatabaseError

Note = Callable[[str | None, datetime | None], Awaitable[None]]
"""Writes down what is wrong (None: nothing is), and when it is tried next; may raise DatabaseError."""

Kind = Literal["mailbox", "folder", "listener", "relay", "console", "job"]
Part = tuple[Kind, str]
"""What kind of part, and the name of its profile: the parts of one profile are counted, and not told apart."""

_UNKNOWN: Final = object()  # what an earlier process wrote down

_parts: Final[Counter[Part]] = Counter()
_at_fault: Final[Counter[Part]] = Counter()


def parts() -> Mapping[Part, int]:
    """How many parts this process has now. May be called in any thread."""
    return dict(_parts)


def parts_at_fault() -> Mapping[Part, int]:
    """How many of its parts are at fault now. May be called in any thread."""
    return dict(_at_fault)


class Health:
    """The health of one part, told by whoever uses it, as often as they like.

    The log has a line when a fault begins or changes its words, and one when it is over; the database has what holds
    now. What the database could not be told is told with the next call. While it is entered, its part is counted as one
    of this process.
    """

    def __init__(
        self, event: str, note: Note, log: structlog.BoundLogger, *, kind: Kind = "job", profile: str = ""
    ) -> None:
        """`event` is the log's line for a fault: "a mailbox is at fault, and tried again"."""
        self._part: Part = (kind, profile)
        self._entered = False
        self._counted_as_fault = False
        self._event = event
        self._note = note
        self._log = log
        self._noted: object = _UNKNOWN
        self._newest: object = None  # what was told last
        self._writing = asyncio.Lock()
        self._logged: str | None = None
        self._since = 0.0

    @property
    def fault(self) -> str | None:
        """What is wrong, in an admin's words; None while nothing is known to be."""
        return self._logged

    async def fails(self, words: str, pause: float | None = None) -> None:
        """Tell what is wrong; `pause` are the seconds until it is tried again."""
        told = {"reason": words} if pause is None else {"reason": words, "pause": round(pause, 1)}
        if self._logged == words:
            self._log.debug(self._event, **told)
        else:
            self._log.warning(self._event, **told)
            if self._logged is None:
                self._since = time.monotonic()
        self._logged = words
        self._count()
        next_try = None if pause is None else datetime.now(UTC) + timedelta(seconds=pause)
        await self._write(words, next_try)

    async def works(self) -> None:
        """Tell that nothing is wrong. Costs nothing while nothing was."""
        if self._logged is not None:
            self._log.info("works again", after=round(time.monotonic() - self._since, 1))
            self._logged = None
            self._count()
        if self._noted is not None:
            await self._write(None, None)

    def __enter__(self) -> Self:
        if not self._entered:
            self._entered = True
            _parts[self._part] += 1
            self._count()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Count the part no more, since this process has let go of it. What was noted stays."""
        if self._entered:
            self._entered = False
            _parts[self._part] -= 1
            self._count()

    def _count(self) -> None:
        is_fault = self._entered and self._logged is not None
        _at_fault[self._part] += is_fault - self._counted_as_fault
        self._counted_as_fault = is_fault

    async def _write(self, words: str | None, next_try: datetime | None) -> None:
        self._noted = _UNKNOWN  # also after a cancellation, or a bug
        self._newest = told = object()
        # One after the other: what is told first must not be written down last.
        async with self._writing:
            if told is not self._newest:
                return
            try:
                await self._note(words, next_try)
            except DatabaseError as error:
                self._log.debug("the fault could not be noted", reason=str(error))
            else:
                self._noted = words
