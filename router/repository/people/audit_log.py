"""The audit log: who did what, when, and about which email."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from router.repository.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done."""

    id: int
    at: datetime
    by: str
    action: str
    subject: str
    email_id: UUID | None
    address: str | None
    details: dict[str, Any]


class About(TypedDict, total=False):
    """What else is known of it: which email it is about, from which IP address it was done, and how."""

    email_id: UUID | None
    address: str | None
    details: Mapping[str, Any] | None


async def note(connection: Connection, by: str, action: str, subject: str = "", **about: Unpack[About]) -> None:
    """Note it; in the transaction of what is done, so that neither is there without the other."""
    await connection.execute(
        """
        INSERT INTO router.audit_log (by, action, subject, email_id, address, details)
        VALUES ($1, $2, $3, $4, $5::text::inet, $6)
        """,
        by,
        action,
        subject,
        about.get("email_id"),
        about.get("address"),
        json.dumps(dict(about.get("details") or {})),
    )


async def list_before(database: Database, before: int | None, limit: int, by: str | None = None) -> Sequence[Entry]:
    """List entries, the latest first: those before the one with this id, with `by` those of one person."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT id, at, by, action, subject, email_id, host(address) AS address, details FROM router.audit_log
            WHERE id < coalesce($1, 9223372036854775807) AND {"by = $3" if by is not None else "$3::text IS NULL"}
            ORDER BY id DESC LIMIT $2
            """,  # noqa: S608  # constants
            before,
            limit,
            by,
        )
    return [Entry(**{**row, "details": json.loads(row["details"])}) for row in rows]
