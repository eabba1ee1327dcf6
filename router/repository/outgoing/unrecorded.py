"""Outcomes that crm.email refuses to be told, by a trigger of the CRM's say: kept, and tried again one by one."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from router.model import Result
from router.repository.database import Database, storable
from transports.base import Outcome

AT_ONCE: Final = 20
"""How many `due` returns at most."""


async def keep(database: Database, result: Result, reason: str) -> None:
    """Keep what an attempt came to, whatever crm.email says; it is `due` a second later, and known to `recover`.

    Nothing is kept of an email that the CRM has deleted.
    """
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.unrecorded (attempt_id, result, reason)
            SELECT a.id, $2, $3 FROM router.attempt AS a WHERE a.id = $1
            ON CONFLICT (attempt_id) DO UPDATE SET result = excluded.result, reason = excluded.reason
            """,
            result.attempt_id,
            json.dumps(asdict(result), default=str),
            storable(reason),
        )


async def due(database: Database) -> list[Result]:
    """Return what is to be tried now, of any process; each is due again after as long as it has been kept.

    That is 2 seconds at least and 10 minutes at most. `outbox.record` ends what it records.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            UPDATE router.unrecorded AS u
            SET next_at = now() + least(greatest(now() - u.since, interval '2 seconds'), interval '10 minutes')
            WHERE u.attempt_id IN (SELECT d.attempt_id FROM router.unrecorded AS d WHERE d.next_at <= now()
                                   ORDER BY d.next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
            RETURNING u.result
            """,
            AT_ONCE,
        )
    return [_read(json.loads(row["result"])) for row in rows]


async def refusals(database: Database) -> Sequence[str]:
    """Tell why crm.email refuses what is kept, in PostgreSQL's own words: each reason once, ten at most."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT reason FROM router.unrecorded GROUP BY reason ORDER BY min(since), reason LIMIT 10"
        )
    return [row["reason"] for row in rows]


def _read(kept: dict[str, Any]) -> Result:
    return Result(
        UUID(kept["email_id"]),
        UUID(kept["attempt_id"]),
        kept["status"],
        kept["reason"],
        tuple(Outcome(**outcome) for outcome in kept["outcomes"]),
        datetime.fromisoformat(kept["next_at"]) if kept["next_at"] else None,
        tuple(kept["relay_ids"]),
        kept.get("spent", True),  # what an earlier version kept has neither
        tuple(kept.get("given_up", ())),
    )
