"""Write all that became of a batch, in one statement: each table, and the cursor, is one part of it.

Only the counts are written apart: all batches of a source share a row there, and would wait for what one of them needs.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from router.errors import DatabaseCopied
from router.model import Disposition
from router.repository.database import Connection
from router.repository.incoming.again import Undones
from router.repository.incoming.batch import Batch, Decided
from router.repository.incoming.sources import HELD, NO_FAULT, Lease
from router.repository.incoming.waiting import write_waiting
from router.repository.incoming.write_decisions import Kept, write_decisions, write_kept
from router.repository.incoming.write_emails import write_emails, write_flags, write_thread_indexes
from router.repository.incoming.write_receipts import (
    write_acknowledgements,
    write_creations,
    write_events,
    write_receipts,
)
from router.repository.round_trip import Writes
from transports.base import Cursor

_OLD: Final = timedelta(days=1)  # what lay longer before it was read came before its mailbox was: that is no lag


async def write_batch(
    connection: Connection, batch: Batch, new: Sequence[Decided], undone: Undones, kept: Sequence[Kept]
) -> Counter[int]:
    """Write all that became of a batch but the counts. Raises LeaseLost where another process holds its source now.

    Raises it in a copy of the database, too. Returns how many copies that were ignored are duplicates now, by source.
    `kept` are the contents, compressed with zlib, that are kept of held and dead copies.
    """
    writes = Writes()
    if new:
        await write_emails(connection, writes, new)
        write_decisions(writes, new, batch, undone)
        write_flags(writes, new)
        write_thread_indexes(writes, new)
        write_waiting(writes, new)
        write_kept(writes, kept, undone)
        write_receipts(writes, new)
        write_acknowledgements(writes, new)
        write_creations(writes, new)
        write_events(writes, new)
    if batch.lease is not None:
        _advance(writes, batch.lease, batch.cursor, mended=batch.cursor is not None and not batch.waits)
    elif not new:
        return Counter()
    held = "(SELECT count(*) FROM held)" if batch.lease is not None else "(NOT router.is_copy())::int"
    overtaken = "ARRAY(SELECT source_id FROM overtaken)" if new else "ARRAY[]::bigint[]"
    (row,) = await writes.run(connection, f"{held} AS held, {overtaken} AS overtaken")
    if not row["held"]:
        raise batch.lease.lost() if batch.lease is not None else DatabaseCopied()
    return Counter(row["overtaken"])


def _advance(writes: Writes, lease: Lease, cursor: Cursor | None, *, mended: bool) -> None:
    """Move the cursor of a source that this process still holds; `mended`: nothing is wrong with it any more."""
    writes.add(
        "held",
        f"""
        UPDATE router.source
        SET cursor = coalesce($4, cursor){", " + NO_FAULT if mended else ""}
        WHERE {HELD} RETURNING id
        """,  # noqa: S608  # constants
        *lease.holder,
        cursor,
    )


async def write_counts(
    connection: Connection, new: Sequence[Decided], undone: Undones, overtaken: Counter[int]
) -> None:
    """Count dispositions by source, in sorted order, so that batches which overtake each other's cause no deadlock.

    To be called last: until the transaction ends, nobody else counts for these sources.
    """
    counts: dict[int, Counter[Disposition]] = {}
    newest: dict[int, datetime] = {}
    for (source_id, _), former in undone.items():
        counts.setdefault(source_id, Counter())[former.disposition] -= 1
    for copy, decision in new:
        counts.setdefault(copy.source_id, Counter())[decision.disposition] += 1
        newest[copy.source_id] = max(copy.received_at, newest.get(copy.source_id, copy.received_at))
    if not counts:
        return
    await connection.execute(
        """
        INSERT INTO router.source_count AS c (source_id, promoted, duplicate, ignored, held, dead, last_at, lag)
        SELECT source_id, sum(promoted), sum(duplicate), sum(ignored), sum(held), sum(dead),
            CASE WHEN bool_or(decided) THEN now() END,
            CASE WHEN max(newest_at) > now() - $10::interval THEN greatest(now() - max(newest_at), interval '0') END
        FROM (
            SELECT *, true AS decided
            FROM unnest(
                $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $9::timestamptz[]
            ) AS w (source_id, promoted, duplicate, ignored, held, dead, newest_at)
            UNION ALL
            SELECT source_id, 0, number, -number, 0, 0, NULL, false
            FROM unnest($7::bigint[], $8::bigint[]) AS o (source_id, number)
        ) AS w
        GROUP BY source_id ORDER BY source_id
        ON CONFLICT (source_id) DO UPDATE SET
            promoted = c.promoted + excluded.promoted, duplicate = c.duplicate + excluded.duplicate,
            ignored = c.ignored + excluded.ignored, held = c.held + excluded.held, dead = c.dead + excluded.dead,
            last_at = coalesce(excluded.last_at, c.last_at), lag = coalesce(excluded.lag, c.lag)
        """,
        list(counts),
        *([of_source[disposition] for of_source in counts.values()] for disposition in Disposition),
        list(overtaken),
        list(overtaken.values()),
        [newest.get(source_id) for source_id in counts],
        _OLD,
    )
