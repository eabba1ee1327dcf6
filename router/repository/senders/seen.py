"""Whose mail a person may see, as the tables of the queue have it."""

from uuid import UUID

from router.repository.database import Connection
from router.repository.senders.fold import EVERYBODY


def owners_seen(seen: frozenset[UUID] | None) -> list[UUID]:
    """Turn what a person may see into the owners whose rows are read; None: all mail."""
    return [EVERYBODY] if seen is None else sorted(seen - {EVERYBODY})


async def is_seen(connection: Connection, seen: frozenset[UUID] | None, address: str) -> bool:
    """Whether mail of a sender waits that may be seen."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM router.sender_waiting WHERE owner_id = ANY($1::uuid[]) AND address = $2)",
        owners_seen(seen),
        address,
    )
    return found
