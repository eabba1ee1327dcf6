"""How a record that was wanted of an email ends, what locks it meanwhile, and how the CRM is told.

What the schema has to do for each record, whoever makes it, is `router.end_creation` (migration 0056).
"""

import json
from typing import Literal
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection

Outcome = Literal["made", "known", "joined", "reopened", "not_made", "waiting", "asked", "later"]


async def lock(connection: Connection, name: str) -> None:
    """Keep all others from making a record of an email, or of a sender, of this name, until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('router.creation ' || $1, 0))", name)


async def end(connection: Connection, wanted: Record, record_id: UUID | None, outcome: Outcome) -> None:
    """Note what became of it; with a record, do what follows from that."""
    if record_id is None:
        await connection.execute(
            """
            UPDATE router.creation
            SET state = 'done', outcome = $2, done_at = now(), fault = NULL, sender_name = '', fields = '{}'
            WHERE id = $1
            """,
            wanted["id"],
            outcome,
        )
        return
    await connection.execute("SELECT router.end_creation($1, $2, $3, false)", wanted["id"], record_id, outcome)


async def leave(connection: Connection, wanted: Record, to: Literal["waiting", "asked"]) -> Outcome:
    """Leave it to others: to whoever resolves its sender (`waiting`), or to the CRM (`asked`)."""
    await connection.execute("UPDATE router.creation SET state = $2 WHERE id = $1", wanted["id"], to)
    return to


async def tell(connection: Connection, kind: str, wanted: Record, **details: object) -> None:
    """Tell the CRM of it by an event."""
    told = {"creation_id": wanted["id"], "owner_id": wanted["owner_id"], "rule": wanted["rule"], **details}
    await connection.execute(
        "INSERT INTO crm.event (kind, email_id, details) VALUES ($1, $2, jsonb_strip_nulls($3::jsonb))",
        kind,
        wanted["email_id"],
        json.dumps(told, default=str),
    )
