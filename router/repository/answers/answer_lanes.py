"""Which incoming emails wait for an acknowledgement, and which is begun next: in a quick lane, and in a slow one.

    promotion ─▶ quick ─begin─▶ (rendered, outside any transaction) ─▶ answers.write, or put_off
                  │ ▲
             park ▼ │ put_back, once the template is proven
                 slow ─begin_trial─▶ (rendered) ─▶ template_proofs, and as above

A template is proven (`router.template`) while something was made of it, as its texts are, the last time. The quick lane
begins what has a proven template, and parks the rest. The slow lane tries one template at a time, by one email: all
others of it cost nothing meanwhile. An email for which a template failed stays there, also while it works for others.

Whoever has begun one has it for `_LEASE`; then another process may.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model.answer import TemplateText, Values
from router.repository.answers.template_proofs import FIRST, LONGEST
from router.repository.answers.template_values import VALUES, values_of
from router.repository.database import Database, storable

AT_ONCE: Final = 20
"""Emails that `begin` looks at; where there are so many, there may be more."""

PIECE: Final = 1000
"""Emails that `put_back` moves at most."""

_LEASE: Final = timedelta(minutes=1)
_GIVEN_UP: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Begun:
    """An email that is to be acknowledged now, by a template as it was when `changed_at`.

    `attempt` tells who began it last. `late`: it is given up if it fails now. `fault`: why it is given up at once.
    `proven`: something was made of the template before. `blamed`: the CRM is told that the template is at fault.
    `failed`: the template failed for this email before.
    """

    email_id: UUID
    attempt: int
    late: bool
    fault: str | None
    template: str
    changed_at: datetime
    proven: bool
    blamed: bool
    failed: bool
    source: TemplateText
    values: Values


_BEGUN: Final = f"""
    SELECT b.*, v.* FROM begun AS b
    JOIN LATERAL ({VALUES} WHERE e.id = b.email_id AND o.record_id = b.owner_id LIMIT 1) AS v ON true
"""  # noqa: S608  # constants


async def begin(database: Database) -> tuple[list[Begun], int]:
    """Begin some of what is due in the quick lane, and return how many were looked at.

    What has no proven template is parked in the slow lane; what needs no answer any more is forgotten. Nothing is begun
    in a copy of the database.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            WITH due AS MATERIALIZED (
                SELECT a.email_id, a.owner_id, a.since <= now() - $2::interval AS late
                FROM router.acknowledgement AS a
                WHERE NOT a.for_template AND a.due_at <= now() AND NOT router.is_copy()
                ORDER BY a.due_at LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED
            ), known AS MATERIALIZED (
                SELECT d.email_id, d.late, t.name, t.changed_at, t.subject, t.text_body, t.html_body, t.fault, t.proven,
                    d.late AND NOT t.proven AND t.fault IS NOT NULL AS given_up
                FROM due AS d CROSS JOIN LATERAL ({_template_of("d.owner_id")}) AS t
                WHERE NOT EXISTS (SELECT FROM router.acknowledged AS k WHERE k.thread_id = crm.thread_id(d.email_id))
            ), forgotten AS (
                DELETE FROM router.acknowledgement AS a USING due
                WHERE a.email_id = due.email_id AND a.email_id = ANY(ARRAY(SELECT email_id FROM due))
                    AND NOT EXISTS (SELECT FROM known WHERE known.email_id = a.email_id)
            ), parked AS (
                UPDATE router.acknowledgement AS a
                SET for_template = true, fault = NULL, due_at = greatest(a.since + $2::interval, now() + $1::interval)
                FROM known AS k WHERE a.email_id = k.email_id AND a.email_id = ANY(ARRAY(SELECT email_id FROM known))
                    AND NOT k.proven AND NOT k.given_up
            ), begun AS (
                UPDATE router.acknowledgement AS a
                SET due_at = now() + $1::interval, attempts = a.attempts + 1, fault = NULL
                FROM known AS k WHERE a.email_id = k.email_id AND a.email_id = ANY(ARRAY(SELECT email_id FROM known))
                    AND (k.proven OR k.given_up)
                RETURNING a.email_id, a.owner_id, a.attempts, k.late, CASE WHEN k.given_up THEN k.fault END AS given_up,
                    k.name AS template, k.changed_at, k.proven, k.fault IS NOT NULL AS blamed, false AS failed,
                    k.subject AS template_subject, k.text_body, k.html_body
            )
            SELECT (SELECT count(*) FROM due) AS looked_at, f.*
            FROM (SELECT) AS one LEFT JOIN ({_BEGUN}) AS f ON true
            """,  # noqa: S608  # constants
            _LEASE,
            _GIVEN_UP,
        )
    return [_begun(row) for row in rows if row["email_id"] is not None], rows[0]["looked_at"]


async def begin_trial(database: Database, *, failed_first: bool = False) -> Begun | None:
    """Begin the next email of the slow lane, by which its template is tried; None where there is none to be tried.

    Templates that never failed as they are come first, in the order in which they were changed; or with `failed_first`
    those that did, in the order in which they are due. What somebody else has locked is skipped.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            {_SLOW}, candidates AS MATERIALIZED (
                SELECT k.*, a.email_id, a.due_at, a.late FROM known AS k CROSS JOIN LATERAL (
                    SELECT * FROM (
                        SELECT a.email_id, a.due_at, a.since <= now() - $2::interval AS late
                        FROM router.acknowledgement AS a
                        WHERE a.for_template AND a.owner_id = k.owner_id AND NOT k.proven
                            AND a.failed_as IS DISTINCT FROM k.changed_at
                        ORDER BY a.due_at LIMIT 1 FOR UPDATE SKIP LOCKED
                    ) AS parked
                    UNION ALL
                    SELECT * FROM (
                        SELECT a.email_id, a.due_at, a.since <= now() - $2::interval AS late
                        FROM router.acknowledgement AS a
                        WHERE a.for_template AND a.owner_id = k.owner_id AND a.failed_as = k.changed_at
                            AND (a.due_at <= now() OR NOT k.proven)
                        ORDER BY a.due_at LIMIT 1 FOR UPDATE SKIP LOCKED
                    ) AS failed
                    LIMIT 1
                ) AS a
                WHERE k.proven OR k.tried_until <= now() AND coalesce(k.next_try_at <= now(), true)
            ), picked AS MATERIALIZED (
                SELECT c.* FROM candidates AS c
                ORDER BY (c.failures > 0) <> $3::boolean, CASE
                    WHEN c.failures = 0 THEN c.changed_at WHEN c.proven THEN c.due_at ELSE c.next_try_at
                END LIMIT 1
            ), leased AS (
                INSERT INTO router.template AS s (name, changed_at, tried_until)
                SELECT p.name, p.changed_at, now() + $1::interval FROM picked AS p WHERE NOT p.proven
                ON CONFLICT (name) DO UPDATE
                SET changed_at = excluded.changed_at, proven = false, tried_until = excluded.tried_until
                WHERE s.changed_at <> excluded.changed_at OR NOT s.proven AND s.tried_until <= now()
                RETURNING s.name
            ), begun AS (
                -- Whose template never failed for it is in the quick lane again, if this process dies.
                UPDATE router.acknowledgement AS a
                SET due_at = now() + $1::interval, attempts = a.attempts + 1,
                    for_template = (a.failed_as = p.changed_at) IS TRUE
                FROM picked AS p JOIN crm.template AS t ON t.name = p.name
                WHERE a.email_id = p.email_id AND a.email_id = ANY(ARRAY(SELECT email_id FROM picked))
                    AND (p.proven OR EXISTS (SELECT FROM leased))
                RETURNING a.email_id, a.owner_id, a.attempts, p.late, NULL AS given_up, p.name AS template,
                    p.changed_at, p.proven, p.fault IS NOT NULL AS blamed, a.for_template AS failed,
                    t.subject AS template_subject, t.text_body, t.html_body
            )
            {_BEGUN}
            """,  # noqa: S608  # constants
            _LEASE,
            _GIVEN_UP,
            failed_first,
        )
    return None if row is None else _begun(row)


async def put_back(database: Database) -> int:
    """Move to the quick lane what waits for its template in vain; return how many there were in this piece.

    That is what has a proven template by now, or none, and what is given up.
    """
    async with database.connection() as connection:
        status = await connection.execute(
            f"""
            {_SLOW}, over AS MATERIALIZED (
                SELECT a.email_id FROM known AS k CROSS JOIN LATERAL (
                    SELECT a.email_id FROM router.acknowledgement AS a
                    WHERE a.for_template AND a.owner_id = k.owner_id AND (k.name IS NULL OR k.proven)
                        AND a.failed_as IS DISTINCT FROM coalesce(k.changed_at, 'infinity')
                    UNION ALL
                    SELECT a.email_id FROM router.acknowledgement AS a
                    WHERE a.for_template AND a.owner_id = k.owner_id AND a.due_at <= now() AND (k.name IS NULL
                        OR NOT k.proven AND k.fault IS NOT NULL AND a.since <= now() - $1::interval)
                ) AS a LIMIT {PIECE}
            ), free AS MATERIALIZED (
                SELECT a.email_id FROM router.acknowledgement AS a
                WHERE a.email_id = ANY(ARRAY(SELECT email_id FROM over)) AND a.for_template FOR UPDATE SKIP LOCKED
            )
            UPDATE router.acknowledgement AS a SET for_template = false, due_at = now()
            WHERE a.email_id = ANY(ARRAY(SELECT email_id FROM free))
            """,  # noqa: S608  # constants
            _GIVEN_UP,
        )
    return int(status.rpartition(" ")[2])


def _template_of(owner_id: str) -> str:
    """Find the template of an owner who acknowledges; each table is asked for a key, whatever the planner thinks."""
    return f"""
        SELECT t.*, s.proven IS TRUE AS proven, coalesce(s.tried_until, '-infinity') AS tried_until
        FROM crm.owner AS o JOIN crm.template AS t ON t.name = o.acknowledgement
        LEFT JOIN router.template AS s ON s.name = t.name AND s.changed_at = t.changed_at
        WHERE o.record_id = {owner_id} AND o.approved AND o.mailbox IS NOT NULL LIMIT 1
    """  # noqa: S608  # constants


# Owners are few, and what waits may be thousands for each: they are found from one to the next.
_SLOW: Final = f"""
    WITH RECURSIVE waiting AS (
        (SELECT a.owner_id FROM router.acknowledgement AS a WHERE a.for_template AND NOT router.is_copy()
         ORDER BY a.owner_id LIMIT 1)
        UNION ALL
        SELECT (SELECT a.owner_id FROM router.acknowledgement AS a
                WHERE a.for_template AND a.owner_id > w.owner_id ORDER BY a.owner_id LIMIT 1)
        FROM waiting AS w WHERE w.owner_id IS NOT NULL
    ), known AS MATERIALIZED (
        SELECT w.owner_id, t.name, t.changed_at, t.fault, t.failures, t.next_try_at, t.proven, t.tried_until
        FROM waiting AS w LEFT JOIN LATERAL ({_template_of("w.owner_id")}) AS t ON true
        WHERE w.owner_id IS NOT NULL
    )"""  # noqa: S608  # constants


def _begun(row: Record) -> Begun:
    return Begun(
        email_id=row["email_id"],
        attempt=row["attempts"],
        late=row["late"],
        fault=row["given_up"],
        template=row["template"],
        changed_at=row["changed_at"],
        proven=row["proven"],
        blamed=row["blamed"],
        failed=row["failed"],
        source=TemplateText(row["template_subject"], row["text_body"], row["html_body"]),
        values=values_of(row),
    )


async def put_off(database: Database, one: Begun, words: str, *, slow: bool) -> None:
    """Try an email later, after a pause that grows with its attempts; `slow`: its template failed for it."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.acknowledgement SET fault = $3, for_template = $6,
                failed_as = CASE WHEN $6 THEN $7::timestamptz END,
                due_at = now() + least($5::interval, $4::interval * 2 ^ least(attempts - 1, 10))
            WHERE email_id = $1 AND attempts = $2
            """,
            one.email_id,
            one.attempt,
            storable(words),
            FIRST,
            LONGEST,
            slow,
            one.changed_at,
        )


async def give_back(database: Database, some: Sequence[Begun]) -> None:
    """Let these be begun again, and their templates be tried, by whoever comes first."""
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH let_go AS (
                UPDATE router.template AS s SET tried_until = '-infinity'
                FROM unnest($3::text[], $4::timestamptz[]) AS w (name, changed_at)
                WHERE s.name = w.name AND s.changed_at = w.changed_at
            )
            UPDATE router.acknowledgement AS a SET due_at = now()
            FROM unnest($1::uuid[], $2::int[]) AS w (email_id, attempt)
            WHERE a.email_id = ANY($1::uuid[]) AND a.email_id = w.email_id AND a.attempts = w.attempt
            """,
            [one.email_id for one in some],
            [one.attempt for one in some],
            [one.template for one in some if not one.proven],
            [one.changed_at for one in some if not one.proven],
        )


async def faults(database: Database, *, slow: bool) -> list[str]:
    """Say what keeps the acknowledgements of one lane from being written, and how many wait for that."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            WITH counted AS (
                SELECT a.owner_id, a.fault, count(*) AS waiting FROM router.acknowledgement AS a
                WHERE {"a.for_template" if slow else "NOT a.for_template AND a.fault IS NOT NULL"} GROUP BY 1, 2
            )
            SELECT coalesce('template ' || o.acknowledgement || ': ', '') || coalesce(c.fault, t.fault) AS words,
                sum(c.waiting) AS waiting
            FROM counted AS c LEFT JOIN crm.owner AS o ON o.record_id = c.owner_id
            LEFT JOIN crm.template AS t ON t.name = o.acknowledgement
            WHERE coalesce(c.fault, t.fault) IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT 20
            """  # noqa: S608  # constants
        )
    return [f"{row['words']} ({row['waiting']} waiting)" for row in rows]
