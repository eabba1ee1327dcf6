"""Router processes: that they live, and what is wrong with their parts."""

import os
import socket
from datetime import datetime, timedelta
from uuid import UUID

from router.repository.database import Database, storable


def beat_of(lease: timedelta) -> float:
    """Seconds between two beats of a process, and between its looks at what there is to do for it.

    There are five in a lease, so that one which is lost does no harm.
    """
    return lease.total_seconds() / 5


async def beat(database: Database, process_id: UUID) -> None:
    """Say that this process lives."""
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.process (id, host, pid) VALUES ($1, $2, $3)
            ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()
            """,
            process_id,
            socket.gethostname(),
            os.getpid(),
        )


async def leave(database: Database, process_id: UUID) -> None:
    """Say that this process ends: what it holds is free at once, and who died a day ago is forgotten."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE router.source SET process_id = NULL WHERE process_id = $1", process_id)
        await connection.execute(
            "DELETE FROM router.process WHERE id = $1 OR seen_at < now() - interval '1 day'", process_id
        )


async def note_fault(
    database: Database, process_id: UUID, part: str, fault: str | None, next_try_at: datetime | None = None
) -> None:
    """Say what is wrong with a part of the process, in an admin's words, and when it starts again; or that it runs."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.process SET faults = CASE
                WHEN $3::text IS NULL THEN faults - $2::text
                ELSE faults || jsonb_build_object($2::text, jsonb_build_object(
                    'fault', $3::text,
                    'since', coalesce(faults #> ARRAY[$2::text, 'since'], to_jsonb(clock_timestamp())),
                    'next_try', $4::timestamptz
                ))
            END
            WHERE id = $1 AND ($3 IS NOT NULL OR faults ? $2::text)
            """,
            process_id,
            part,
            storable(fault),
            next_try_at,
        )
