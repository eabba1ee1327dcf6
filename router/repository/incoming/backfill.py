"""What is known of the past of a mailbox, and how far it has been brought in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from router.model import Disposition
from router.repository.database import Database
from transports.base import Place


@dataclass(frozen=True, slots=True)
class Judged:
    """A disposition that a copy has: the number of the decision, and the email that it is, if any."""

    decision_id: int
    disposition: Disposition
    email_id: UUID | None


@dataclass(frozen=True, slots=True)
class BackfillUnderWay:
    """The backfill of one source that did not come to its end: by whom, since when, up to which place."""

    by: str
    begun_at: datetime
    last: Place
    counts: Mapping[str, Any]


async def judged(database: Database, source_id: int, places: Sequence[Place]) -> dict[Place, Judged]:
    """Tell which of these places have a disposition, and which."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT w.number, d.id, d.disposition, d.email_id
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w (validity, place, number)
            JOIN router.decision AS d ON d.source_id = $1 AND d.validity = w.validity AND d.place = w.place
            """,
            source_id,
            [place.validity for place in places],
            [place.id for place in places],
        )
    return {
        places[row["number"] - 1]: Judged(row["id"], Disposition(row["disposition"]), row["email_id"]) for row in rows
    }


async def read_under_way(database: Database, source_id: int, since: date) -> BackfillUnderWay | None:
    """Read how far the backfill of a source since this day came, if it was interrupted."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT by_name, begun_at, validity, place, counts::text AS counts FROM router.backfill
            WHERE source_id = $1 AND since = $2 AND ended_at IS NULL AND place IS NOT NULL
            """,
            source_id,
            since,
        )
    if row is None:
        return None
    return BackfillUnderWay(
        row["by_name"], row["begun_at"], Place(row["validity"], row["place"]), json.loads(row["counts"])
    )


async def note_progress(
    database: Database,
    source_id: int,
    since: date,
    by: str,
    begun_at: datetime,
    last: Place | None,
    counts: Mapping[str, int],
    *,
    ended: bool,
) -> None:
    """Note how far the backfill of a source has come: up to the place `last`, with these counts; or to its end."""
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.backfill (source_id, since, by_name, begun_at, ended_at, validity, place, counts)
            VALUES ($1, $2, $3, $4, CASE WHEN $8 THEN now() END, $5, $6, $7::jsonb)
            ON CONFLICT (source_id) DO UPDATE SET since = excluded.since, by_name = excluded.by_name,
                begun_at = excluded.begun_at, ended_at = excluded.ended_at, validity = excluded.validity,
                place = excluded.place, counts = excluded.counts
            """,
            source_id,
            since,
            by,
            begun_at,
            last and last.validity,
            last and last.id,
            json.dumps(counts),
            ended,
        )
