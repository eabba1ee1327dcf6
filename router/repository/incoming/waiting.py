"""Answers that come before the email that they answer.

    write_waiting    with its batch: which unknown emails a copy names, as hashes
    find_answers     with the upkeep of ids, wherever an email's id became known: whose answers were waiting for it
    link_answer      one answer after the other: a promoted one is linked, an ignored one is noted to be decided again

No email is missed, whatever commits at the same time. A router that promotes or sends an email holds the lock on the
id's hash, as does whoever decides on an answer: one of the two sees the other, and what waits is told through
`router.known_id`. An id that the CRM made known comes that way in any case, and filing it takes the same lock.

Linking is apart from all this and waits for nobody: what another transaction has locked is linked later.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.errors import DatabaseError
from router.model import Disposition, local_id_hash, message_id_hash
from router.repository.database import Connection, Database
from router.repository.incoming.batch import Decided
from router.repository.round_trip import Writes

WAITS: Final = timedelta(days=14)
"""How long an answer waits for the email that it answers."""

PIECE: Final = 1000
"""Rows that are forgotten at once."""

_PUT_OFF: Final = timedelta(minutes=1)
_CAME_LATER: Final = "the email that it answers came later"
_NOT_KEPT: Final = (
    f"{_CAME_LATER}, but what a listener took and the rule ignored is not kept: it cannot be decided again"
)


def write_waiting(writes: Writes, new: Sequence[Decided]) -> None:
    """Write which emails these copies wait for, after their decisions; and tell whose answers wait for their emails."""
    waiting = [
        (copy.source_id, copy.place.validity, copy.place.id, hashed, position, method)
        for copy, decision in new
        for position, (hashed, method) in enumerate(_hashes(decision.waits_for).items())
    ]
    if waiting:
        writes.add(
            "waiting",
            """
            INSERT INTO router.waiting_answer (decision_id, hash, position, method, until)
            SELECT d.id, w.hash, w.position, w.method, now() + $7
            FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::int[], $6::text[])
                AS w (source_id, validity, place, hash, position, method)
            JOIN decisions AS d USING (source_id, validity, place)
            RETURNING hash
            """,
            *(list(column) for column in zip(*waiting, strict=True)),
            WAITS,
        )
    emails = {
        message_id_hash(email.message_id): email.id
        for _, decision in new
        if (email := decision.email) and email.message_id
    }
    if emails:
        writes.add(
            "awaited",
            f"""
            INSERT INTO router.known_id (hash, email_id)
            SELECT w.hash, w.email_id FROM unnest($1::bytea[], $2::uuid[]) AS w (hash, email_id)
            WHERE EXISTS (SELECT FROM router.waiting_answer AS a WHERE a.hash = w.hash)
                {"OR w.hash IN (SELECT hash FROM waiting)" if waiting else ""}
            """,  # noqa: S608  # a constant
            list(emails),
            list(emails.values()),
        )


def _hashes(waits_for: Sequence[tuple[str, str]]) -> dict[bytes, str]:
    """The hashes under which one of these emails may become known, the nearest first, with how the copy names it."""
    hashes: dict[bytes, str] = {}
    for method, message_id in waits_for:
        hashes.setdefault(message_id_hash(message_id), method)
        if method != "references":  # a relay that tells only the left of the @ tells it before anybody can answer
            hashes.setdefault(local_id_hash(message_id), method)
    return hashes


async def tell_awaited(connection: Connection, hashes: Sequence[bytes]) -> None:
    """Tell which of these ids, made known and locked by this transaction, answers wait for."""
    await connection.execute(
        """
        INSERT INTO router.known_id (hash, email_id)
        SELECT m.hash, m.email_id FROM router.message_id AS m
        WHERE m.hash = ANY($1::bytea[]) AND m.email_id IS NOT NULL
            AND EXISTS (SELECT FROM router.waiting_answer AS a WHERE a.hash = m.hash)
        """,
        list(hashes),
    )


async def find_answers(connection: Connection, hashes: Sequence[bytes]) -> None:
    """Find the answers that wait for emails which are known by now; the hashes are locked by this transaction."""
    await connection.execute(
        """
        UPDATE router.waiting_answer AS a SET email_id = m.email_id, try_at = now()
        FROM router.message_id AS m
        WHERE a.hash = ANY($1::bytea[]) AND a.email_id IS NULL AND m.hash = a.hash AND m.email_id IS NOT NULL
        """,
        list(hashes),
    )


async def link_answer(database: Database) -> bool:
    """Do what is to be done with one answer that was found, and say whether there was one.

    What fails, as where the CRM has its email locked, is put off, and lets all others pass.
    """
    async with database.connection() as connection:
        decision_id: int | None = await connection.fetchval(
            """
            SELECT decision_id FROM router.waiting_answer
            WHERE email_id IS NOT NULL AND try_at <= now() ORDER BY try_at LIMIT 1
            """
        )
    if decision_id is None:
        return False
    try:
        async with database.transaction() as connection:
            await _link(connection, decision_id)
    except DatabaseError:
        async with database.connection() as connection:
            await connection.execute(
                """
                UPDATE router.waiting_answer SET try_at = now() + $2 WHERE decision_id = $1 AND email_id IS NOT NULL
                """,
                decision_id,
                _PUT_OFF,
            )
    return True


async def _link(connection: Connection, decision_id: int) -> None:
    found = await connection.fetch(
        "DELETE FROM router.waiting_answer WHERE decision_id = $1 RETURNING position, email_id, method", decision_id
    )
    if not found:
        return  # another process was quicker
    decision = await connection.fetchrow(
        """
        SELECT d.owner_id, d.key, d.disposition, d.email_id, s.folder = '' AS listened
        FROM router.decision AS d JOIN router.source AS s ON s.id = d.source_id WHERE d.id = $1
        """,
        decision_id,
    )
    if decision is None:
        return
    _, email_id, method = min(row for row in map(tuple, found) if row[1] is not None)
    match Disposition(decision["disposition"]):
        case Disposition.PROMOTED:
            if await _correlate(connection, decision["email_id"], email_id, method):
                await _add_reason(connection, decision_id, f"{_CAME_LATER}: it answers a CRM email, by {method}")
        case Disposition.IGNORED if decision["listened"]:
            await _add_reason(connection, decision_id, _NOT_KEPT)
        case Disposition.IGNORED:
            await _note_again(connection, decision)


async def _correlate(connection: Connection, answer_id: UUID, email_id: UUID, method: str) -> bool:
    """Link an answer that the CRM has; False where it is gone or a person linked it, or where it would answer itself.

    Raises DatabaseAway where another transaction has it locked.
    """
    await connection.execute("SELECT FROM crm.email WHERE id = $1 FOR NO KEY UPDATE NOWAIT", answer_id)
    linked: bool = await connection.fetchval(
        """
        WITH linked AS (
            UPDATE crm.email AS e SET
                correlated_id = $2, correlation_method = $3,
                -- What a person has said of the answer since, holds.
                regarding_id = CASE
                    WHEN e.regarding_id IS NULL AND NOT EXISTS (
                        SELECT FROM router.regarding_change AS c WHERE c.first_id = e.id
                    ) THEN router.thread_regarding($2) ELSE e.regarding_id END,
                flags = CASE
                    WHEN e.direction = 'out' OR 'new-on-thread' = ANY(e.flags) OR EXISTS (
                        SELECT FROM crm.party AS p JOIN crm.party AS s USING (address)
                        WHERE p.email_id = $2 AND s.email_id = e.id AND s.role = 'from' AND s.position = 0
                    ) THEN e.flags ELSE e.flags || 'new-on-thread'::text END
            WHERE e.id = $1 AND e.correlated_id IS NULL
                AND EXISTS (SELECT FROM crm.email AS parent WHERE parent.id = $2)
                AND NOT EXISTS (SELECT FROM router.thread_above($2) AS up WHERE up.id = $1)
            RETURNING e.id
        ), event AS (
            INSERT INTO crm.event (kind, email_id, details)
            SELECT 'correlated', id, jsonb_build_object('correlated_id', $2::uuid, 'method', $3::text) FROM linked
        )
        SELECT EXISTS (SELECT FROM linked)
        """,
        answer_id,
        email_id,
        method,
    )
    return linked


async def _add_reason(connection: Connection, decision_id: int, reason: str) -> None:
    await connection.execute(
        "UPDATE router.decision SET reasons = reasons || $2::text WHERE id = $1", decision_id, reason
    )


async def _note_again(connection: Connection, decision: Record) -> None:
    """Ask for the answer to be decided again, wherever it lies in the owner's mailbox by now."""
    await connection.execute(
        """
        INSERT INTO router.decide_again (decision_id, source_id, reason)
        SELECT d.id, d.source_id, $3
        FROM router.decision AS d JOIN router.source AS s ON s.id = d.source_id
        WHERE d.key = $2 AND d.owner_id = $1 AND d.disposition = 'ignored' AND s.folder <> ''
        ON CONFLICT DO NOTHING
        """,
        decision["owner_id"],
        decision["key"],
        f"{_CAME_LATER}, so it was decided again",
    )


async def prune(database: Database) -> int:
    """Forget answers that have waited long enough; return how many there were in this piece."""
    async with database.connection() as connection:
        pruned: int = await connection.fetchval(
            """
            WITH pruned AS (
                DELETE FROM router.waiting_answer WHERE (decision_id, hash) IN (
                    SELECT decision_id, hash FROM router.waiting_answer
                    WHERE until < now() ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED
                ) RETURNING 1
            )
            SELECT count(*) FROM pruned
            """,
            PIECE,
        )
    return pruned
