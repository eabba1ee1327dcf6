"""What the organization and owners have chosen (`router.model.settings`), and who chose it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.model.matching import Matching
from router.model.settings import Choices, Value
from router.repository.database import Connection, Database

TOKENS: Final = """(
    SELECT coalesce(jsonb_object_agg(s.name, s.value), '{}')::text FROM crm.setting AS s
    WHERE s.name IN ('token_prefixes', 'token_in_subject')
)"""
"""SQL: what the organization has chosen about tokens, for `matching_of`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """All that is chosen, by the organization and by some owners, with who changed it last and when.

    `own` tells it of owners' settings, not of what was chosen with an older version.
    """

    choices: Choices
    by: Mapping[str, tuple[str, datetime]]
    own: Mapping[UUID, Mapping[str, tuple[str, datetime]]]


def choices_of(
    organization: Iterable[tuple[str, str, bool]],
    owners: Mapping[UUID, str],
    rules: Mapping[UUID, str | None] | None = None,
) -> Choices:
    """Make the choices of what the database holds, values as JSON. An owner's rule is never one of its `settings`."""
    rows = list(organization)
    return Choices(
        {name: json.loads(value) for name, value, _ in rows},
        frozenset(name for name, _, locked in rows if locked),
        {
            owner_id: _own(settings) | {"rule": rules.get(owner_id) if rules else None}
            for owner_id, settings in owners.items()
        },
    )


def _own(settings: str) -> dict[str, object]:
    own = json.loads(settings)
    return own if isinstance(own, dict) else {}


def matching_of(tokens: str) -> Matching:
    """Make it of what `TOKENS` has selected: it tells no more than how tokens look."""
    return Matching.of(Choices(json.loads(tokens)))


async def read_stored(database: Database, mailboxes: Iterable[str] | None = ()) -> Stored:
    """Read what the organization has chosen, and the owners of these mailboxes (normalized); None: all owners."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT name, value, locked, by, at FROM crm.setting")
        owners = await connection.fetch(
            """
            SELECT record_id, settings, tracking_rule, settings_by FROM crm.owner
            WHERE mailbox = ANY($1::text[]) OR $1 IS NULL
            """,
            None if mailboxes is None else list(mailboxes),
        )
    choices = choices_of(
        [(row["name"], row["value"], row["locked"]) for row in rows],
        {row["record_id"]: row["settings"] for row in owners},
        {row["record_id"]: row["tracking_rule"] for row in owners},
    )
    own = {row["record_id"]: _changes(row["settings_by"]) for row in owners}
    return Stored(choices, {row["name"]: (row["by"], row["at"]) for row in rows}, own)


def _changes(settings_by: str) -> dict[str, tuple[str, datetime]]:
    return {name: (one["by"], datetime.fromisoformat(one["at"])) for name, one in json.loads(settings_by).items()}


async def say_who(connection: Connection, by: str) -> None:
    """Say who changes an owner's settings or rule in this transaction (`crm.note_settings`)."""
    await connection.execute("SELECT set_config('router.chosen_by', $1, true)", by)


async def choose(database: Database, name: str, value: Value, by: str, *, locked: bool) -> None:
    """Write what the organization has chosen. Raises DatabaseError for what is none of the setting's values."""
    async with database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO crm.setting (name, value, locked, by) VALUES ($1, $2::jsonb, $3, $4)
            ON CONFLICT (name) DO UPDATE
                SET value = excluded.value, locked = excluded.locked, by = excluded.by, at = now()
            """,
            name,
            json.dumps(value),
            locked,
            by,
        )


async def reset(database: Database, name: str) -> bool:
    """Let the organization have chosen nothing; False: it had not."""
    async with database.transaction() as connection:
        done = await connection.fetchval("DELETE FROM crm.setting WHERE name = $1 RETURNING true", name)
    return done is not None


async def choose_own(database: Database, owner_id: UUID, name: str, value: Value | None, by: str) -> None:
    """Write what an owner has chosen; None: nothing."""
    async with database.transaction() as connection:
        await say_who(connection, by)
        await connection.execute(
            """
            UPDATE crm.owner SET settings = CASE
                WHEN $3::jsonb IS NULL THEN settings - $2::text
                ELSE settings || jsonb_build_object($2::text, $3::jsonb) END
            WHERE record_id = $1
            """,
            owner_id,
            name,
            None if value is None else json.dumps(value),
        )
