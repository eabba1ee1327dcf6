"""The rules for records from mail that the database keeps (`crm.creation_rule`), and who wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.creation_rule import parse_rule
from router.model import Copy, CreationRule
from router.model.creation import WrongRule
from router.repository.database import Database
from router.repository.round_trip import Reads

_KEYS: Final = """jsonb_strip_nulls(jsonb_build_object(
    'name', r.name, 'makes', r.makes, 'owners', r.owners, 'to', r."to", 'from', r."from", 'subject', r.subject,
    'headers', r.headers, 'sender', r.sender, 'internal', r.internal, 'unknown_sender', r.unknown_sender,
    'reopen_days', r.reopen_days, 'priority', r.priority, 'fields', r.fields))::text"""
"""SQL: what a row `r` says, by the keys of a profile's rules; what is null is not said."""


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule as it is stored: its `keys` in JSON, and who changed it last, and when.

    `unknown` are those of the mailboxes of `owners` that no owner has.
    """

    name: str
    position: int
    active: bool
    owners: tuple[str, ...]
    unknown: tuple[str, ...]
    keys: str
    by: str
    at: datetime

    @property
    def rule(self) -> CreationRule | None:
        """The rule; None: what is stored says none, and is passed over."""
        return parse_rule(self.keys)


def add_creation_rules(reads: Reads, copies: Sequence[Copy]) -> None:
    """Ask for the active rules that are for the owners of these copies."""
    reads.add(
        "creation_rules",
        f"""
        SELECT r.position, r.name, r.owners, {_KEYS} FROM crm.creation_rule AS r WHERE r.active AND r.owners IS NULL
        UNION ALL
        SELECT r.position, r.name, r.owners, {_KEYS} FROM crm.creation_rule AS r
        WHERE r.active AND r.owners && ARRAY(SELECT o.mailbox FROM crm.owner AS o WHERE o.record_id = ANY($1::uuid[]))
        """,  # noqa: S608  # a constant
        list({copy.owner_id for copy in copies if copy.owner_id}),
    )


def creation_rules_of(found: Record) -> tuple[CreationRule | WrongRule, ...]:
    """Make the rules of what was read, in their order."""
    rows = sorted(found["creation_rules"], key=lambda row: (row[0], row[1]))
    return tuple(parse_rule(keys) or WrongRule(name, tuple(owners or ())) for _, name, owners, keys in rows)


async def read_rules(database: Database) -> list[StoredRule]:
    """Read all rules that are stored, in their order."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT r.name, r.position, r.active, coalesce(r.owners, '{{}}') AS owners, {_KEYS} AS keys, r.by, r.at,
                ARRAY(
                    SELECT m FROM unnest(r.owners) AS m
                    WHERE NOT EXISTS (SELECT FROM crm.owner AS o WHERE o.mailbox = m)
                ) AS unknown
            FROM crm.creation_rule AS r ORDER BY r.position, r.name COLLATE "C"
            """  # noqa: S608  # a constant
        )
    return [StoredRule(**{**row, "owners": tuple(row["owners"]), "unknown": tuple(row["unknown"])}) for row in rows]


async def is_queue(database: Database, owner_id: UUID) -> bool:
    """Whether an owner is a queue."""
    async with database.connection() as connection:
        found: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM crm.record WHERE id = $1 AND kind::text = 'queue')", owner_id
        )
    return found
