"""The job that does what the database needs from time to time, whatever mail comes or goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from router.errors import DatabaseError
from router.health import Health
from router.repository import clock, upkeep
from router.repository.answers import answers
from router.repository.api import posted
from router.repository.bounces import bounced
from router.repository.database import Database
from router.repository.erasure import taken_back
from router.repository.incoming import waiting
from router.repository.oauth2 import tokens
from router.repository.outgoing import sent_copies
from router.repository.overview import samples
from router.repository.owners import simulations
from router.repository.records import merges
from router.repository.retention import WALKS, Piece, Retention, forget_bytes, take_piece
from router.repository.rulings import ruling_walks

_log = structlog.get_logger(__name__)

BYTES: Final = "bytes"
"""What is pruned by a time of its own: the bytes of dead and held mail."""

SEALED: Final = "sealed"
"""What is pruned by its age, as soon as it has that: emails that were taken back."""

EVERY: Final = 5.0
"""Seconds between two rounds."""

_TURN: Final = 2.0  # seconds that one work has in a round, while the others wait

_REST: Final = 0.5  # of the time that a piece took, before the next one: what is large leaves the database to the mail

_LASTING: Final = 3  # rounds in a row; a lock of the CRM's, or a restart, is over by then


async def look_at_clock(database: Database) -> bool:
    """Notice that the database's clock was set back, and say so. Returns False: there is no more to do."""
    if back := await clock.look(database):
        _log.warning("the database's clock was set back: what waits is due as much earlier", seconds=round(back))
    return False


# What is to be done, and what it returns as long as more of it may be left.
_WORK: Final[Sequence[tuple[Callable[[Database], Awaitable[int]], int]]] = (
    (look_at_clock, True),
    (upkeep.move_known_ids, upkeep.PIECE),
    (waiting.link_answer, True),
    (waiting.prune, waiting.PIECE),
    (ruling_walks.carry_out, True),
    (merges.carry_out, True),
    (sent_copies.forget_done, sent_copies.PIECE),
    (answers.forget_old, answers.PIECE),
    (bounced.tell_left, bounced.PIECE),
    (tokens.forget_unused, tokens.PIECE),
    (posted.forget_old, posted.PIECE),
    (samples.take_sample, True),
    (simulations.forget_old, simulations.PIECE),
)

_PIECES: Final = 20  # of one walk in a round: a backlog is pruned over hours, and nothing waits for it


async def keep_up(database: Database, retention: Retention, health: Health) -> None:
    """Do what the database needs, a small piece at a time, until canceled; what fails stops no other, and waits.

    A fault that lasts is told by `health`: without this, answers stay unlinked, and tables grow without end.
    """
    failed = 0
    loop = asyncio.get_running_loop()
    prune_at = loop.time()
    while True:
        faults: set[str] = set()
        more = False
        for do, left in _WORK:
            try:
                more |= await _do_for_a_while(do, database, left)
            except DatabaseError as error:
                faults.add(str(error))
        if loop.time() >= prune_at:  # where more is left of the work, a round comes soon, and nothing to prune with it
            for what in (*WALKS, BYTES, SEALED):
                await prune(database, what, retention, faults)
            prune_at = loop.time() + EVERY
        failed = failed + 1 if faults else 0
        if not faults:
            await health.works()
        elif failed >= _LASTING:
            await health.fails("; ".join(sorted(faults)), EVERY)
        await asyncio.sleep(0 if more and not faults else EVERY)


async def _do_for_a_while(do: Callable[[Database], Awaitable[int]], database: Database, left: int) -> bool:
    """Do pieces of one work until nothing is left of it, or the others have waited long enough; then return True."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    until = began + _TURN
    while await do(database) == left:
        took = loop.time() - began
        await asyncio.sleep(took * _REST)
        began = loop.time()
        if began > until:
            return True
    return False


async def prune(database: Database, what: str, retention: Retention, faults: set[str]) -> int:
    """Prune some pieces of what is due; return how many rows that were. Why it cannot go on is added to `faults`."""
    deleted = 0
    try:
        for _ in range(_PIECES):
            piece = await _take(database, what, retention)
            deleted += piece.deleted
            if not piece.more:
                break
    except DatabaseError as error:
        faults.add(str(error))
    if deleted:
        _log.info("pruned", what=what, rows=deleted)
    return deleted


async def _take(database: Database, what: str, retention: Retention) -> Piece:
    if what == BYTES:
        return await forget_bytes(database)
    if what == SEALED:
        return await taken_back.forget(database, retention.taken_back)
    return await take_piece(database, what, retention)
