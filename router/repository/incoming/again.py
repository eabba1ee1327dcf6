"""Copies whose decision is made again: a row in `router.decide_again` asks for it, or a person's ruling.

A person rules on a dead or held copy, or has the past of a mailbox judged anew (`incoming.backfill`).

    router.decide_again ─▶ fetch the place ─┐
    a ruling on a copy ─▶ read it anew ─────┴─▶ inbox.promote(Batch(…, again=True))
                                                 undo the decision ─▶ decide as if the copy were new, in one transaction

So it happens exactly once: where that transaction commits, the request is gone with the decision that it was for, and
so is what another person would rule on. Whoever reads the source does what a row asks for; what cannot be fetched keeps
its decision (`give_up`). A ruling is carried out by who ruled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from router.model import Copy, Decision, Disposition, Facts
from router.repository.database import Connection, Database
from transports.base import Place


@dataclass(frozen=True, slots=True)
class Undone:
    """A decision that was undone: whose message it was on, and since when its place is settled.

    `reason` says why, but for a ruling, which the copy itself has. `expires_at` is when its kept content expires, and
    `others_wait` whether other copies of the mail that brought it are dead or held still.
    """

    id: int
    disposition: Disposition
    reason: str | None
    owner_id: UUID | None
    key: bytes | None
    settled_at: datetime | None
    expires_at: datetime | None
    others_wait: bool


class Undones(dict[tuple[int, Place], Undone]):
    """Decisions that were undone, by source and place."""

    def former(self, copy: Copy) -> Undone | None:
        """Return what was undone for a copy: a mail in a forward mailbox is one copy as long as nothing came of it."""
        places = dict.fromkeys((copy.place, copy.outer_place))
        return next((self[copy.source_id, place] for place in places if (copy.source_id, place) in self), None)


async def due(database: Database, source_id: int, limit: int, after: int = 0) -> dict[Place, list[int]]:
    """List places of a source with the decisions that are to be made again there; of a forward the outer place.

    They are those with the smallest ids beyond `after`.

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
            WHERE a.source_id = $1 AND d.email_id IS NULL AND a.decision_id > $3 ORDER BY a.decision_id LIMIT $2
            """,
            source_id,
            limit,
            after,
        )
    decision_ids: dict[Place, list[int]] = {}
    for row in rows:
        decision_ids.setdefault(Place(row["validity"], row["place"]), []).append(row["id"])
    return decision_ids


async def count(database: Database, source_id: int) -> int:
    """How many decisions of a source are to be made again."""
    async with database.connection() as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM router.decide_again WHERE source_id = $1", source_id
        )
    return found


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

    To be called where the keys of the copies are locked. A place that holds another message by now keeps its decision,
    and so does a letter on which somebody else has ruled: then its copies count as decided before.
    """
    rows = await connection.fetch(
        """
        WITH w AS (
            SELECT *
            FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::boolean[])
                AS w (source_id, validity, place, outer_place, key, ruled_id, backfilled)
        ), wanted AS (
            SELECT d.id, d.disposition
            FROM w JOIN router.decision AS d USING (source_id, validity, place)
            JOIN router.decide_again AS a ON a.decision_id = d.id
            WHERE d.email_id IS NULL AND (d.key = w.key) IS NOT FALSE  -- null: it was not read then, or cannot be now
            UNION
            SELECT d.id, d.disposition
            FROM w JOIN router.decision AS d ON d.id = w.ruled_id
            WHERE CASE WHEN w.backfilled THEN d.disposition = 'ignored' ELSE d.disposition IN ('held', 'dead') END
                AND (d.key = w.key) IS NOT FALSE
                AND (d.source_id, d.validity) = (w.source_id, w.validity) AND d.place IN (w.place, w.outer_place)
        ), undone AS (
            DELETE FROM router.decision AS d USING wanted
            WHERE d.id = wanted.id AND d.disposition = wanted.disposition  -- still, if it was locked
            RETURNING d.*
        )
        SELECT u.*, a.reason, k.expires_at, u.outer_place IS NOT NULL AND EXISTS (
            SELECT FROM router.decision AS other
            WHERE other.source_id = u.source_id AND other.validity = u.validity AND other.outer_place = u.outer_place
                AND other.disposition IN ('held', 'dead') AND other.id NOT IN (SELECT id FROM undone)
        ) AS others_wait
        FROM undone AS u
        LEFT JOIN router.decide_again AS a ON a.decision_id = u.id
        LEFT JOIN router.kept_content AS k ON k.decision_id = u.id AND k.expires_at > now()
        """,
        [copy.source_id for copy in copies],
        [copy.place.validity for copy in copies],
        [copy.place.id for copy in copies],
        [copy.outer_place.id for copy in copies],
        [copy.key if copy.judged else None for copy in copies],
        [copy.ruling.decision_id if copy.ruling else None for copy in copies],
        [copy.backfilled for copy in copies],
    )
    undone = Undones(((row["source_id"], Place(row["validity"], row["place"])), _undone(row)) for row in rows)
    facts.decided.places -= undone.keys()
    facts.decided.places |= {
        (copy.source_id, copy.place)
        for copy in copies
        if copy.ruling and copy.ruling.decision_id is not None and undone.former(copy) is None
    }
    # Elsewhere in the mailbox the same message was ignored only because it was here.
    keys = {(one.owner_id, one.key) for one in undone.values()}
    for which, before in list(facts.decided.not_promoted.items()):
        if before is Disposition.IGNORED and which[:2] in keys:
            del facts.decided.not_promoted[which]
    return undone


def _undone(row: Record) -> Undone:
    return Undone(
        row["id"],
        Disposition(row["disposition"]),
        row["reason"],
        row["owner_id"],
        row["key"],
        row["settled_at"],
        row["expires_at"],
        row["others_wait"],
    )


def with_reasons(copies: Sequence[Copy], decisions: Sequence[Decision], undone: Undones) -> list[Decision]:
    """Say in each decision that was made again why it was."""
    return [
        replace(decision, reasons=(former.reason, *decision.reasons))
        if (former := undone.former(copy)) and former.reason
        else decision
        for copy, decision in zip(copies, decisions, strict=True)
    ]
