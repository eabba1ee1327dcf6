"""What is kept of tokens, as a person looks at it: for whom there is one, until when, and what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from router.model.identity import Identity
from router.model.token_fault import FaultKind
from router.repository.database import Database


@dataclass(frozen=True, slots=True)
class KeptToken:
    """One identity. `granted_at` is None where it never had a token."""

    identity: Identity
    granted_at: datetime | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    fault: str | None = None
    fault_kind: FaultKind | None = None
    fault_since: datetime | None = None
    next_try_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The identities of one application at one token server: how many have a fault, and when the first login ends.

    `whole` is the one of them that is for all mailboxes.
    """

    whole: Identity
    at_fault: int
    login_ends_at: datetime | None


_COLUMNS: Final = """issuer, client, scope, grant_type, subject, granted_at, expires_at, refresh_expires_at, fault,
    fault_kind, fault_since, next_try_at"""


# What went wrong for somebody who is no approved owner any more troubles nobody.
_WANTED: Final = """
    (t.subject = '' OR EXISTS (SELECT FROM crm.owner AS o WHERE o.mailbox = t.subject AND o.approved))
"""


async def list_tokens(database: Database) -> Sequence[KeptToken]:
    """List all identities, by issuer, client and subject."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"SELECT {_COLUMNS} FROM router.token ORDER BY issuer, client, subject, scope, grant_type"  # noqa: S608  # constants
        )
    return [_kept(row) for row in rows]


async def list_noteworthy(database: Database, soon: timedelta, limit: int) -> Sequence[KeptToken]:
    """List, in the same order, those that have a fault, or whose login ends soon; at most `limit` of each.

    Those of mailboxes that are of no approved owner are left out, here and in `summarize`.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            (SELECT {_COLUMNS} FROM router.token AS t WHERE fault IS NOT NULL AND {_WANTED} LIMIT $2)
            UNION
            (SELECT {_COLUMNS} FROM router.token AS t WHERE refresh_expires_at < now() + $1 AND {_WANTED}
                ORDER BY refresh_expires_at LIMIT $2)
            ORDER BY issuer, client, subject, scope, grant_type
            """,  # noqa: S608  # constants
            soon,
            limit,
        )
    return [_kept(row) for row in rows]


async def summarize(database: Database) -> Sequence[Summary]:
    """Sum up the identities that have a fault, or a login that ends some time, by application; no others."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT issuer, client, scope, grant_type, count(fault) AS at_fault, min(refresh_expires_at) AS ends_at
            FROM router.token AS t WHERE (fault IS NOT NULL OR refresh_expires_at IS NOT NULL) AND {_WANTED}
            GROUP BY issuer, client, scope, grant_type
            """  # noqa: S608  # constants
        )
    return [
        Summary(
            Identity(row["issuer"], row["client"], row["scope"], row["grant_type"], ""), row["at_fault"], row["ends_at"]
        )
        for row in rows
    ]


async def forget_login(database: Database, identity: Identity) -> bool:
    """Delete all that is kept of an identity; False if there is nothing. Whoever is renewing it renews it in vain."""
    async with database.connection() as connection:
        deleted = await connection.fetchval("DELETE FROM router.token WHERE id = $1 RETURNING true", identity.key)
    return bool(deleted)


def _kept(row: Any) -> KeptToken:
    issuer, client, scope, grant, subject, *told = row.values()
    return KeptToken(Identity(issuer, client, scope, grant, subject), *told)
