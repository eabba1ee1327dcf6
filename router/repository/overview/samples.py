"""Samples: how much mail there had been at a moment, every quarter of an hour. A page draws the last day from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from router.model import Disposition
from router.repository.database import Database
from router.repository.outgoing.queue import queue_of
from router.repository.rulings.unresolved import total_of

EVERY: Final = timedelta(minutes=15)

_KEPT: Final = timedelta(days=2)
_MOST_EVENTS: Final = (
    200_000  # counted for one sample; a router that sends more in a quarter of an hour has a limit first
)
_LATEST: Final = 1000  # copies from which the lag is told
_OLD: Final = timedelta(days=1)  # what lay longer before it was read came before its mailbox was: that is no lag

OUTCOMES: Final = ("sent", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals `at` a moment: copies by disposition, moves of outgoing email by outcome; and what was so then.

    `lag`: seconds from arrival to decision that 95 of 100 copies did not exceed since the sample before; None: none
    came. `to_send` emails were due, and `unresolved` waited for somebody to say who their sender is.
    """

    at: datetime
    copies: Mapping[Disposition, int]
    outcomes: Mapping[str, int]
    lag: float | None
    to_send: int
    unresolved: int


async def take_sample(database: Database) -> bool:
    """Take the sample of this quarter of an hour, unless there is one; more are never left to do: returns False."""
    async with database.transaction() as connection:
        last = await connection.fetchrow(
            "SELECT at, event_id, sent, failed, unknown FROM router.sample ORDER BY at DESC LIMIT 1"
        )
        at: datetime = await connection.fetchval("SELECT date_bin($1, now(), 'epoch')", EVERY)
        if last is None or last["at"] < at:
            moved = await connection.fetchrow(_MOVES, last["event_id"] if last else None, _MOST_EVENTS)
            assert moved is not None
            totals = [(last[one] if last else 0) + moved[one] for one in OUTCOMES]
            lag = await connection.fetchval(_LAG, last["at"] if last else at - EVERY, _LATEST, _OLD)
            to_send = (await queue_of(connection)).due()
            unresolved = (await total_of(connection)).emails
            await connection.execute(_TAKEN, at, *totals, moved["event_id"], lag, to_send, unresolved, _KEPT)
    return False


async def read_samples(database: Database, since: timedelta) -> Sequence[Sample]:
    """Read the samples that are not older than this, the oldest first."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM router.sample WHERE at >= now() - $1::interval ORDER BY at", since)
    return [
        Sample(
            row["at"],
            {one: row[one.value] for one in Disposition},
            {one: row[one] for one in OUTCOMES},
            row["lag"],
            row["to_send"],
            row["unresolved"],
        )
        for row in rows
    ]


# Events that are committed later than others with a higher id are missed: a plot is no ledger.
_MOVES: Final = """
    SELECT count(*) FILTER (WHERE kind = 'sent') AS sent, count(*) FILTER (WHERE kind = 'failed') AS failed,
        count(*) FILTER (WHERE kind = 'unknown') AS unknown,
        coalesce(max(id), (SELECT max(id) FROM crm.event), 0) AS event_id
    FROM (SELECT id, kind FROM crm.event WHERE id > $1::bigint ORDER BY id LIMIT $2) AS e
"""

_LAG: Final = """
    SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY greatest(0, extract(epoch FROM d.lag)))::double precision
    FROM (
        SELECT decided_at - received_at AS lag, decided_at, disposition FROM router.decision ORDER BY id DESC LIMIT $2
    ) AS d
    WHERE d.decided_at > $1 AND d.disposition <> 'duplicate' AND d.lag < $3::interval
"""

_TAKEN: Final = """
    WITH gone AS (
        DELETE FROM router.sample WHERE at < now() - $9::interval
    )
    INSERT INTO router.sample (
        at, promoted, duplicate, ignored, held, dead, sent, failed, unknown, event_id, lag, to_send, unresolved
    )
    SELECT $1, coalesce(sum(promoted), 0), coalesce(sum(duplicate), 0), coalesce(sum(ignored), 0),
        coalesce(sum(held), 0), coalesce(sum(dead), 0), $2, $3, $4, $5, $6, $7, $8
    FROM router.source_count
    ON CONFLICT (at) DO NOTHING
"""
