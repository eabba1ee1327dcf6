"""The job that does what the database needs from time to time, whatever mail comes or goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from router.errors import DatabaseError
from router.health import Health
from router.repository import answers, bounced, sent_copies, tokens, upkeep, waiting
from router.repository.database import Database
from router.repository.retention import WALKS, Retention, forget_bytes, take_piece

_log = structlog.get_logger(__name__)

BYTES: Final = "bytes"
"""What is pruned by a time of its own: the bytes of dead and held mail."""

EVERY: Final = 5.0
"""Seconds between two rounds."""

_LASTING: Final = 3  # rounds in a row; a lock of the CRM's, or a restart, is over by then

# What is to be done, and what it returns as long as more of it may be left.
_WORK: Final[Sequence[tuple[Callable[[Database], Awaitable[int]], int]]] = (
    (upkeep.move_known_ids, upkeep.PIECE),
    (waiting.link_answer, True),
    (waiting.prune, waiting.PIECE),
    (sent_copies.forget_done, sent_copies.PIECE),
    (answers.forget_old, answers.PIECE),
    (bounced.tell_left, bounced.PIECE),
    (tokens.forget_unused, tokens.PIECE),
)

_PIECES: Final = 20  # of one walk in a round: a backlog is pruned over hours, and nothing waits for it


async def keep_up(database: Database, retention: Retention, health: Health) -> None:
    """Do what the database needs, a small piece at a time, until canceled; what fails stops no other, and waits.

    A fault that lasts is told by `health`: without this, answers stay unlinked, and tables grow without end.
    """
    failed = 0
    while True:
        faults: set[str] = set()
        for do, left in _WORK:
            try:
                while await do(database) == left:
                    pass
            except DatabaseError as error:
                faults.add(str(error))
        for what in (*WALKS, BYTES):
            await prune(database, what, retention, faults)
        failed = failed + 1 if faults else 0
        if not faults:
            await health.works()
        elif failed >= _LASTING:
            await health.fails("; ".join(sorted(faults)), EVERY)
        await asyncio.sleep(EVERY)


async def prune(database: Database, what: str, retention: Retention, faults: set[str]) -> int:
    """Prune some pieces of what is due; return how many rows that were. Why it cannot go on is added to `faults`."""
    deleted = 0
    try:
        for _ in range(_PIECES):
            piece = await (forget_bytes(database) if what == BYTES else take_piece(database, what, retention))
            deleted += piece.deleted
            if not piece.more:
                break
    except DatabaseError as error:
        faults.add(str(error))
    if deleted:
        _log.info("pruned", what=what, rows=deleted)
    return deleted
