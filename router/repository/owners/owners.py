"""Owners: the users and queues whose mail is tracked, and in whose name is sent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from router.errors import DatabaseError
from router.model import Owner, Rule, normalize
from router.repository.database import Database
from router.repository.owners.choices import say_who
from router.repository.people import audit_log

_LISTED = """
    SELECT o.record_id, o.mailbox, coalesce(
            (SELECT crm.locked_rule()),  -- asked once, not of each owner
            o.tracking_rule
        ) AS tracking_rule, o.approved, coalesce(r.name, '') AS name
    FROM crm.owner AS o LEFT JOIN crm.record AS r ON r.id = o.record_id
"""


@dataclass(frozen=True, slots=True)
class ListedOwner:
    """An owner as an admin sees it, approved or not."""

    owner: Owner
    name: str
    approved: bool

    @property
    def mailbox(self) -> str:
        """The owner's address."""
        return self.owner.mailbox

    @property
    def rule(self) -> Rule | None:
        """The owner's own tracking rule; None: the profile's default."""
        return self.owner.rule


@dataclass(frozen=True, slots=True)
class WithoutMailbox:
    """An owner whose mailbox nobody has named yet; it is taken on approval if there is only one address."""

    name: str
    addresses: tuple[str, ...]


async def list_owners(database: Database) -> list[ListedOwner]:
    """List every owner with a mailbox, by mailbox."""
    async with database.connection() as connection:
        rows = await connection.fetch(f"{_LISTED} WHERE o.mailbox IS NOT NULL ORDER BY o.mailbox")
    return [_listed(row) for row in rows]


async def list_approved(
    database: Database, within: Collection[UUID] | None, limit: int
) -> tuple[list[ListedOwner], int]:
    """List the first approved owners by mailbox, and tell how many there are; of these only, None: of all."""
    wanted = "o.mailbox IS NOT NULL AND o.approved AND ($1::uuid[] IS NULL OR o.record_id = ANY($1))"
    ids = None if within is None else list(within)
    async with database.connection() as connection:
        rows = await connection.fetch(f"{_LISTED} WHERE {wanted} ORDER BY o.mailbox LIMIT $2", ids, limit)
        number: int = len(rows)
        if number == limit:
            query = f"SELECT count(*) FROM crm.owner AS o WHERE {wanted}"  # noqa: S608  # a constant
            number = await connection.fetchval(query, ids)
    return [_listed(row) for row in rows], number


async def list_page(
    database: Database, after: str, search: str, limit: int, *, approved: bool | None = None
) -> list[ListedOwner]:
    """List owners with a mailbox, by mailbox, after this one; `search` is part of mailbox or name, empty for all."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            {_LISTED} WHERE o.mailbox > $1 AND ($2 = '' OR strpos(o.mailbox, lower($2)) > 0
                OR strpos(lower(r.name), lower($2)) > 0) AND ($3::boolean IS NULL OR o.approved = $3)
            ORDER BY o.mailbox LIMIT $4
            """,
            after,
            search,
            approved,
            limit,
        )
    return [_listed(row) for row in rows]


async def list_without_mailbox(database: Database) -> list[WithoutMailbox]:
    """List every owner who has no mailbox, with the addresses that it could be."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT coalesce(r.name, '') AS name,
                array(SELECT a.address FROM crm.address AS a WHERE a.record_id = o.record_id ORDER BY 1) AS addresses
            FROM crm.owner AS o LEFT JOIN crm.record AS r ON r.id = o.record_id
            WHERE o.mailbox IS NULL ORDER BY 1, o.record_id
            """
        )
    return [WithoutMailbox(row["name"], tuple(row["addresses"])) for row in rows]


async def find_owners(database: Database, addresses: Sequence[str]) -> dict[str, ListedOwner]:
    """Find the owners of these addresses (normalized), approved or not."""
    async with database.connection() as connection:
        rows = await connection.fetch(f"{_LISTED} WHERE o.mailbox = ANY($1)", list(addresses))
    return {row["mailbox"]: _listed(row) for row in rows}


async def approved_owners(database: Database, addresses: Sequence[str]) -> dict[str, Owner]:
    """Find the approved owners of these addresses (normalized)."""
    found = await find_owners(database, addresses)
    return {mailbox: one.owner for mailbox, one in found.items() if one.approved}


async def approve(database: Database, address: str, by: str, *, approved: bool = True) -> None:
    """Approve the mailbox of an owner, or of a user or queue whose only address this is; or take that back.

    Raises DatabaseError where there is no such owner.
    """
    address = normalize(address)
    async with database.transaction() as connection:
        done = await connection.fetchval(
            """
            UPDATE crm.owner SET approved = $2
            WHERE mailbox = $1
                OR mailbox IS NULL AND record_id IN (SELECT record_id FROM crm.address WHERE address = $1)
            RETURNING mailbox
            """,
            address,
            approved,
        )
        if done is not None:
            await audit_log.note(connection, by, "owner-approved" if approved else "owner-disapproved", done)
    if done is None:
        raise _nobody_has(address)


async def set_rule(database: Database, mailbox: str, rule: Rule | None, by: str) -> None:
    """Set an owner's tracking rule; None: the profile's default. Raises DatabaseError where there is no such owner."""
    async with database.transaction() as connection:
        await say_who(connection, by)
        done = await connection.fetchval(
            "UPDATE crm.owner SET tracking_rule = $2 WHERE mailbox = $1 RETURNING record_id", normalize(mailbox), rule
        )
        if done is not None:
            details = {"rule": rule.value if rule else None}
            await audit_log.note(connection, by, "rule-set", normalize(mailbox), details=details)
    if done is None:
        raise _nobody_has(normalize(mailbox))


def _nobody_has(address: str) -> DatabaseError:
    return DatabaseError(
        f"no owner has the mailbox {address}: the CRM names owners, by a row in crm.owner with record_id and mailbox"
    )


def _listed(row: asyncpg.Record) -> ListedOwner:
    rule = Rule(row["tracking_rule"]) if row["tracking_rule"] else None
    return ListedOwner(Owner(row["record_id"], row["mailbox"], rule), row["name"], row["approved"])


async def ids_named(database: Database, name: str, kind: str | None) -> Sequence[UUID]:
    """Find owners (of a kind: user, queue) by mailbox, in whatever form, or else by the name of their record."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT o.record_id, o.mailbox = $2 AS by_mailbox
            FROM crm.owner AS o JOIN crm.record AS r ON r.id = o.record_id
            WHERE ($3::text IS NULL OR r.kind = $3) AND (o.mailbox = $2 OR lower(r.name) = lower($1)) ORDER BY 1
            """,
            name,
            normalize(name),
            kind,
        )
    return [row["record_id"] for row in rows if row["by_mailbox"]] or [row["record_id"] for row in rows]


async def names_of(database: Database, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Tell the mailboxes of owners, or their names where they have none."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT o.record_id, coalesce(o.mailbox, r.name) AS name FROM crm.owner AS o
            LEFT JOIN crm.record AS r ON r.id = o.record_id WHERE o.record_id = ANY ($1::uuid[])
            """,
            list(ids),
        )
    return {row["record_id"]: row["name"] for row in rows if row["name"] is not None}
