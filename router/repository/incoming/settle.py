"""What is still to be settled: decisions of which the mail server was not told yet."""

from collections.abc import Sequence
from datetime import timedelta

from router.repository.database import Database
from transports.base import Place


async def with_rest(database: Database, source_ids: Sequence[int], delay: timedelta) -> list[int]:
    """Which of these sources have something left to do, though nothing is new there.

    That is, copies that are to be decided again, or places, decided on so long ago, that the mail server was not told
    of yet.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT s.id FROM unnest($1::bigint[]) AS s (id)
            WHERE NOT router.is_copy() AND (
                EXISTS (
                    SELECT FROM router.decision AS d
                    WHERE d.source_id = s.id AND d.settled_at IS NULL AND d.decided_at <= now() - $2::interval
                ) OR EXISTS (SELECT FROM router.decide_again AS a WHERE a.source_id = s.id)
            )
            """,
            list(source_ids),
            delay,
        )
    return [row["id"] for row in rows]


async def unsettled(database: Database, source_id: int, delay: timedelta, limit: int = 1000) -> list[Place]:
    """List the places that have had a disposition for so long, but that the mail server was not told of yet.

    A copy of the database tells nobody.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT validity, coalesce(outer_place, place) AS place FROM router.decision
            WHERE source_id = $1 AND settled_at IS NULL AND decided_at <= now() - $2::interval AND NOT router.is_copy()
            ORDER BY decided_at, id LIMIT $3
            """,
            source_id,
            delay,
            limit,
        )
    return list(dict.fromkeys(Place(row["validity"], row["place"]) for row in rows))


async def note_settled(database: Database, source_id: int, places: Sequence[Place]) -> None:
    """Say that the mail server was told of these places."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.decision AS d SET settled_at = now()
            FROM unnest($2::text[], $3::text[]) AS p (validity, place)
            WHERE d.source_id = $1 AND d.validity = p.validity AND coalesce(d.outer_place, d.place) = p.place
                AND d.settled_at IS NULL
            """,
            source_id,
            [place.validity for place in places],
            [place.id for place in places],
        )
