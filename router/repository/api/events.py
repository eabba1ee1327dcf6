"""What happened, in the one order in which a client follows along (docs/database.md)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from router.model.event import BEGINNING, Place
from router.repository.database import Database

CHANNEL: Final = "crm_event"
"""Where it is told that there are new events."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as in crm.event; of a private or deleted email neither its words nor its parties."""

    place: Place
    at: datetime
    kind: str
    email_id: UUID | None
    details: dict[str, Any]


async def list_after(database: Database, place: Place, limit: int) -> Sequence[Event]:
    """List the events after a place, in their order; none can appear before one of them later."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT v.transaction::text AS transaction, v.id, v.at, v.kind, v.email_id, v.details,
                -- Of an email that is gone nobody knows any more whether it was private.
                coalesce(e.private, v.email_id IS NOT NULL) AS private
            FROM crm.events_after($1::text::xid8, $2, $3) AS v LEFT JOIN crm.email AS e ON e.id = v.email_id
            ORDER BY v.transaction, v.id
            """,
            str(place.transaction),
            place.id,
            limit,
        )
    return [
        Event(
            Place(int(row["transaction"]), row["id"]),
            row["at"],
            row["kind"],
            row["email_id"],
            _of_private(json.loads(row["details"])) if row["private"] else json.loads(row["details"]),
        )
        for row in rows
    ]


async def as_of_now(database: Database, event: Event) -> Event:
    """Return an event that was read a while ago as it may be told now: its email may be private, or gone, by now."""
    bare = replace(event, details=_of_private(event.details))
    if event.email_id is None or bare == event:
        return event
    async with database.connection() as connection:
        private: bool | None = await connection.fetchval("SELECT private FROM crm.email WHERE id = $1", event.email_id)
    return event if private is False else bare


def _of_private(details: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if name in _OF_PRIVATE}


_OF_PRIVATE: Final = ("old", "by", "send_after", "owner_id", "whole")
"""Details that tell nothing of what an email says, or of who else is on it."""


async def find_last(database: Database) -> Place:
    """Find the place after which there is nothing yet."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT e.transaction::text AS transaction, e.id FROM crm.event AS e
            WHERE e.transaction < crm.events_until() ORDER BY e.transaction DESC, e.id DESC LIMIT 1
            """
        )
    return Place(int(row["transaction"]), row["id"]) if row else BEGINNING
