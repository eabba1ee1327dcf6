"""Copies whose decision is made again: a row in `router.decide_again` asks for it, whoever reads the source does it.

    router.decide_again ─▶ fetch the place ─▶ inbox.promote(Batch(…, again=True))
                                                 undo the decision ─▶ decide as if the copy were new, in one transaction

So it happens exactly once: where that transaction commits, the request is gone with the decision that it was for. What
is asked for and cannot be fetched keeps its decision (`give_up`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from router.model import Copy, Decision, Disposition, Facts
from router.repository.database import Connection, Database
from transports.base import Place


@dataclass(frozen=True, slots=True)
class Undone:
    """A decision that was undone: why, whose message it was on, and since when its place is settled."""

    reason: str
    owner_id: UUID | None
    key: bytes | None
    settled_at: datetime | None


Undones = Mapping[tuple[int, Place], Undone]
"""By source and place."""


async def due(database: Database, source_id: int, limit: int) -> dict[Place, list[int]]:
    """List places of a source with the decisions that are to be made again there; of a forward the outer place.

    Of a copy that became the CRM's since nothing is asked any more.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            WITH done AS (
                DELETE FROM router.decide_again AS a USING router.decision AS d
                WHERE a.source_id = $1 AND d.id = a.decision_id AND d.email_id IS NOT NULL
            )
            SELECT d.id, d.validity, coalesce(d.outer_place, d.place) AS place
            FROM router.decide_again AS a JOIN router.decision AS d ON d.id = a.decision_id
            WHERE a.source_id = $1 AND d.email_id IS NULL ORDER BY a.decision_id LIMIT $2
            """,
            source_id,
            limit,
        )
    decision_ids: dict[Place, list[int]] = {}
    for row in rows:
        decision_ids.setdefault(Place(row["validity"], row["place"]), []).append(row["id"])
    return decision_ids


async def give_up(database: Database, decision_ids: Sequence[int], reason: str) -> None:
    """Let those of these decisions that were not made again stay as they are, and say why."""
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH given_up AS (
                DELETE FROM router.decide_again WHERE decision_id = ANY($1::bigint[]) RETURNING decision_id, reason
            )
            UPDATE router.decision AS d SET reasons = d.reasons || ARRAY[g.reason || $2::text]
            FROM given_up AS g WHERE d.id = g.decision_id AND d.email_id IS NULL
            """,
            list(decision_ids),
            f"; {reason}",
        )


async def undo(connection: Connection, copies: Sequence[Copy], facts: Facts) -> Undones:
    """Undo the decisions on those of these copies that are to be decided again, and let the facts know nothing of them.

    To be called where the keys of the copies are locked. A place that holds another message by now keeps its decision.
    """
    rows = await connection.fetch(
        """
        WITH undone AS (
            DELETE FROM router.decision AS d
            USING router.decide_again AS a,
                unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[]) AS w (source_id, validity, place, key)
            WHERE d.source_id = w.source_id AND d.validity = w.validity AND d.place = w.place
                AND a.decision_id = d.id AND d.email_id IS NULL
                AND (d.key = w.key) IS NOT FALSE  -- null: it was not read then, or cannot be now
            RETURNING d.source_id, d.validity, d.place, d.owner_id, d.key, d.disposition, d.settled_at, a.reason
        ), counted AS (
            UPDATE router.source_count AS c
            SET ignored = c.ignored - u.ignored, held = c.held - u.held, dead = c.dead - u.dead
            FROM (
                SELECT source_id, count(*) FILTER (WHERE disposition = 'ignored') AS ignored,
                    count(*) FILTER (WHERE disposition = 'held') AS held,
                    count(*) FILTER (WHERE disposition = 'dead') AS dead
                FROM undone GROUP BY source_id
            ) AS u
            WHERE c.source_id = u.source_id
        )
        SELECT * FROM undone
        """,
        [copy.source_id for copy in copies],
        [copy.place.validity for copy in copies],
        [copy.place.id for copy in copies],
        [copy.key if copy.judged else None for copy in copies],
    )
    undone = {
        (row["source_id"], Place(row["validity"], row["place"])): Undone(
            row["reason"], row["owner_id"], row["key"], row["settled_at"]
        )
        for row in rows
    }
    facts.decided.places -= undone.keys()
    for one in undone.values():
        # Elsewhere in the mailbox the same message was ignored only because it was here.
        if one.owner_id and one.key and facts.decided.not_promoted.get((one.owner_id, one.key)) is Disposition.IGNORED:
            del facts.decided.not_promoted[one.owner_id, one.key]
    return undone


def with_reasons(copies: Sequence[Copy], decisions: Sequence[Decision], undone: Undones) -> list[Decision]:
    """Say in each decision that was made again why it was."""
    return [
        replace(decision, reasons=(former.reason, *decision.reasons))
        if (former := undone.get((copy.source_id, copy.place)))
        else decision
        for copy, decision in zip(copies, decisions, strict=True)
    ]
