"""Tokens of the API, by their hashes: who may do what, and until when."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from asyncpg import Record

from router.repository.database import Database

_EXACT: Final = timedelta(hours=1)  # how exactly it is known when a token was used last


@dataclass(frozen=True, slots=True)
class StaffToken:
    """A token, without its secret. `is_valid`: it is neither ended nor expired."""

    name: str
    scopes: tuple[str, ...]
    made_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    ended_at: datetime | None
    is_valid: bool


_COLUMNS: Final = """name, scopes, made_at, expires_at, last_used_at, ended_at,
    ended_at IS NULL AND expires_at > now() AS is_valid"""

_USED_LATELY: Final = "last_used_at > now() - $2::interval"


async def add(
    database: Database, digest: bytes, name: str, scopes: Collection[str], lasts: timedelta
) -> StaffToken | None:
    """Add a token; None where a token of this name is valid. One that has expired gives its name away."""
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE router.staff_token SET ended_at = expires_at "
            "WHERE name = $1 AND ended_at IS NULL AND expires_at <= now()",
            name,
        )
        row = await connection.fetchrow(
            f"""
            INSERT INTO router.staff_token (hash, name, scopes, expires_at) VALUES ($1, $2, $3, now() + $4)
            ON CONFLICT (name) WHERE ended_at IS NULL DO NOTHING RETURNING {_COLUMNS}
            """,  # noqa: S608  # constants
            digest,
            name,
            sorted(set(scopes)),
            lasts,
        )
    return _token(row) if row else None


async def list_tokens(database: Database) -> Sequence[StaffToken]:
    """List all tokens, those that are valid first, then by name and age."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"SELECT {_COLUMNS} FROM router.staff_token ORDER BY is_valid DESC, name, made_at"  # noqa: S608  # constants
        )
    return [_token(row) for row in rows]


async def end(database: Database, name: str) -> bool:
    """End the token of this name; False where none is to be ended."""
    async with database.connection() as connection:
        ended = await connection.fetchval(
            "UPDATE router.staff_token SET ended_at = now() "
            "WHERE name = $1 AND ended_at IS NULL AND expires_at > now() RETURNING true",
            name,
        )
    return ended is not None


async def find(database: Database, digest: bytes) -> StaffToken | None:
    """Find a token by its hash, and note that it is used."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"SELECT {_COLUMNS}, {_USED_LATELY} AS is_noted FROM router.staff_token WHERE hash = $1",  # noqa: S608
            digest,
            _EXACT,
        )
        if row is None:
            return None
        found = _token(row)
        if found.is_valid and not row["is_noted"]:
            # Of many requests at once each may find it due; whoever finds it locked leaves it to the other.
            await connection.execute(
                """
                UPDATE router.staff_token SET last_used_at = now() WHERE hash = (
                    SELECT hash FROM router.staff_token
                    WHERE hash = $1 AND last_used_at IS NOT DISTINCT FROM $2 FOR UPDATE SKIP LOCKED
                )
                """,
                digest,
                found.last_used_at,
            )
    return found


def _token(row: Record) -> StaffToken:
    columns = {name: row[name] for name in StaffToken.__dataclass_fields__}
    return StaffToken(**{**columns, "scopes": tuple(row["scopes"])})
