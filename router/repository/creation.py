"""Records from mail: what rules want made of emails, carried out one by one.

Each creation is a transaction of its own. It locks, in this order: the creation, its email's name, its sender's name,
and the case; so neither two processes nor two emails make one record twice.

    creation_senders    contacts and leads
    creation_cases      cases
    creation_asked      where `crm.record` or `crm.address` is a view
    creation_ends       how each ends
    creation_states     what is wanted, failed, or made, for whoever looks
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from router.errors import DatabaseError
from router.repository.creation_asked import ask, is_ours
from router.repository.creation_cases import make_case
from router.repository.creation_ends import Outcome, lock, tell
from router.repository.creation_senders import make_sender
from router.repository.database import Connection, Database, storable

ATTEMPTS: Final = 12
"""Times that a record is tried to be made, over two hours and more, before a person has to say `crm.make_again`."""

_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_LIMITS: Final = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'"
_PARKED: Final = 1000  # creations of the same owner that wait with one that took too long


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one creation; `fault` says why it could not be made, `is_final` that it is not tried again."""

    id: int
    rule: str
    outcome: Outcome | None
    fault: str | None = None
    is_final: bool = False


async def carry_out(database: Database) -> Carried | None:
    """Make what is wanted and due first; None where nothing is. Raises DatabaseError if that cannot be noted."""
    async with database.connection() as connection:
        due = await connection.fetchrow(
            """
            SELECT id, owner_id, rule FROM router.creation WHERE state = 'wanted' AND due_at <= now()
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
            """
        )
    if due is None:
        return None
    try:
        async with database.transaction() as connection:
            await connection.execute(_LIMITS)
            return Carried(due["id"], due["rule"], await _carry_out(connection, due["id"]))
    except DatabaseError as error:
        is_final = await _put_off(database, due["id"], due["owner_id"], str(error))
        return Carried(due["id"], due["rule"], None, str(error), is_final)


async def _carry_out(connection: Connection, creation_id: int) -> Outcome:
    wanted = await connection.fetchrow(
        """
        SELECT c.*, e.subject, e.regarding_id, coalesce(e.received_at, now()) AS received_at
        FROM router.creation AS c JOIN crm.email AS e ON e.id = c.email_id
        WHERE c.id = $1 AND c.state = 'wanted' AND c.due_at <= now() FOR UPDATE OF c SKIP LOCKED
        """,
        creation_id,
    )
    if wanted is None:
        return "later"  # another process was quicker
    await lock(connection, str(wanted["email_id"]))
    if not await is_ours(connection):
        return await ask(connection, wanted)
    if wanted["makes"] == "case":
        return await make_case(connection, wanted)
    return await make_sender(connection, wanted)


async def _put_off(database: Database, creation_id: int, owner_id: UUID, fault: str) -> bool:
    """Note why it could not be made, and try it later, or never again; return whether it is that.

    Others of the same owner wait as long as it does the first time: each may take as long to fail.
    """
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            """
            UPDATE router.creation SET attempts = attempts + 1, fault = $2,
                state = CASE WHEN attempts + 1 >= $3 THEN 'failed' ELSE 'wanted' END,
                due_at = now() + least($4::interval * power(2, attempts), $5::interval)
            WHERE id = $1 AND state = 'wanted' RETURNING id, email_id, owner_id, rule, state
            """,
            creation_id,
            (storable(fault) or "")[:1000],
            ATTEMPTS,
            _FIRST_PAUSE,
            _LONGEST_PAUSE,
        )
        await connection.execute(
            """
            UPDATE router.creation SET due_at = now() + $3 WHERE id IN (
                SELECT id FROM router.creation
                WHERE owner_id = $1 AND state = 'wanted' AND due_at <= now() AND id <> $2
                ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
            )
            """,
            owner_id,
            creation_id,
            _FIRST_PAUSE,
            _PARKED,
        )
        if row is not None and row["state"] == "failed":
            await tell(connection, "record_not_made", row, fault=fault)
            return True
    return False
