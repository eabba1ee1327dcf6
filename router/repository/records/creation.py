"""Records from mail: what rules want made of emails, carried out one by one.

    creation_lanes      which is begun next, and when it is tried again
    creation_senders    contacts and leads
    creation_cases      cases
    creation_asked      where `crm.record` or `crm.address` is a view
    creation_ends       how each ends
    creation_states     what is wanted, failed, or made, for whoever looks

Each is made in a transaction of its own, by who began it last. It locks, in this order: the creation, its email's name,
its sender's name, and the case; so neither two processes nor two emails make one record twice.
"""

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.errors import DatabaseError, TookTooLong
from router.repository.database import Connection, Database
from router.repository.faults import is_late, is_lost
from router.repository.records import creation_lanes
from router.repository.records.creation_asked import ask, is_ours
from router.repository.records.creation_cases import make_case
from router.repository.records.creation_ends import Outcome, lock
from router.repository.records.creation_lanes import Begun
from router.repository.records.creation_senders import make_sender

QUICK: Final = 1.0
"""Seconds that all of one record may take in the quick lane, and each of its statements; others wait behind it."""

APART: Final = 5.0
"""The same in the slow lane."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one creation; `fault` says why it could not be made, `is_final` that it is not tried again."""

    id: int
    owner_id: UUID
    rule: str
    outcome: Outcome | None
    fault: str | None = None
    is_final: bool = False


async def carry_out(database: Database) -> tuple[Carried | None, bool]:
    """Make what is due first in the quick lane, and say whether more may be due.

    Raises DatabaseError where it cannot be begun, or its fault not be noted; then it counts as lost.
    """
    begun, more = await creation_lanes.begin(database)
    return (await _carry_out_one(database, begun, QUICK) if begun else None), more


async def carry_out_apart(
    database: Database, after: Carried | None = None, *, failed_first: bool = False
) -> Carried | None:
    """Make one of the slow lane; None where nothing is due. Owners take turns `after` the last. Raises as `carry_out`.

    What was never tried comes before what failed, or with `failed_first` after it.
    """
    turn = {} if after is None else {"after": after.owner_id}
    begun = await creation_lanes.begin_apart(database, failed_first=failed_first, **turn)
    return await _carry_out_one(database, begun, APART) if begun else None


async def _carry_out_one(database: Database, begun: Begun, within: float) -> Carried:
    if begun.lost:
        fault = await creation_lanes.give_up(database, begun)
        return Carried(begun.id, begun.owner_id, begun.rule, None if fault else "later", fault, fault is not None)
    try:
        outcome = await make(database, begun, within)
    except DatabaseError as error:
        is_final = await creation_lanes.put_off(database, begun, str(error), slow=is_late(error), lost=is_lost(error))
        return Carried(begun.id, begun.owner_id, begun.rule, None, str(error), is_final)
    return Carried(begun.id, begun.owner_id, begun.rule, outcome)


async def make(database: Database, begun: Begun, within: float) -> Outcome:
    """Make what was begun; raises TookTooLong after about so many seconds, or as `Database.transaction`."""
    async with database.transaction() as connection:
        milliseconds = f"{within * 1000:.0f}ms"
        await connection.execute(
            f"SET LOCAL lock_timeout = '{milliseconds}'; SET LOCAL statement_timeout = '{milliseconds}'"
        )
        try:
            async with asyncio.timeout(within):
                outcome = await _make(connection, begun)
                # What a trigger of the CRM's leaves for the end has no limit there.
                await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except TimeoutError as error:
            raise TookTooLong(f"it took longer than {within:g} s to make it: a trigger of the CRM's?") from error
    return outcome


async def _make(connection: Connection, begun: Begun) -> Outcome:
    wanted = await connection.fetchrow(
        """
        SELECT c.*, e.regarding_id, coalesce(e.received_at, now()) AS received_at,
            -- Everybody reads the names of records, and not what a private email says.
            CASE WHEN e.private THEN router.without_subject(e.subject, e.subject) ELSE e.subject END AS subject,
            CASE WHEN e.private THEN router.without_subject(c.fields, e.subject) ELSE c.fields END AS filled
        FROM router.creation AS c JOIN crm.email AS e ON e.id = c.email_id
        WHERE c.id = $1 AND c.attempts = $2 AND c.state = 'wanted' FOR UPDATE OF c SKIP LOCKED
        """,
        begun.id,
        begun.attempt,
    )
    if wanted is None:
        return "later"  # another process has it, or the email is gone
    # Whatever becomes of it now, it has an end.
    await connection.execute("UPDATE router.creation SET begun_at = NULL WHERE id = $1", begun.id)
    await lock(connection, str(wanted["email_id"]))
    if not await is_ours(connection):
        return await ask(connection, wanted)
    outcome = await (make_case if wanted["makes"] == "case" else make_sender)(connection, wanted)
    # The email may have become private meanwhile.
    await connection.execute("SELECT router.hide_made($1)", wanted["email_id"])
    return outcome
