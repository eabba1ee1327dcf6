"""Passkeys of people: the public half of each, and the challenges that wait to be signed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from router.repository.database import Connection, Database

CHALLENGE_LASTS: Final = timedelta(minutes=5)
"""For how long a browser may take to have a challenge signed."""


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as its person sees it; `number` names it on pages."""

    number: int
    name: str
    made_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Key:
    """A passkey as it is verified; `public_key` is a COSE_Key."""

    id: bytes
    person_id: int
    name: str
    public_key: bytes
    sign_count: int


async def list_of(database: Database, person_id: int) -> Sequence[Passkey]:
    """List the passkeys of a person, the oldest first."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT number, name, made_at, used_at FROM router.person_passkey WHERE person_id = $1 ORDER BY number",
            person_id,
        )
    return [Passkey(**row) for row in rows]


async def ids_of(connection: Connection, person_id: int) -> Sequence[bytes]:
    """List the credential ids of a person's passkeys."""
    rows = await connection.fetch("SELECT id FROM router.person_passkey WHERE person_id = $1", person_id)
    return [row["id"] for row in rows]


async def find(connection: Connection, credential_id: bytes) -> Key | None:
    """Find a passkey by its credential id."""
    row = await connection.fetchrow(
        "SELECT id, person_id, name, public_key, sign_count FROM router.person_passkey WHERE id = $1", credential_id
    )
    return Key(**row) if row else None


async def add(connection: Connection, key: Key) -> bool:
    """Add a passkey; False where it is there already."""
    done = await connection.execute(
        """
        INSERT INTO router.person_passkey (id, person_id, name, public_key, sign_count) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (id) DO NOTHING
        """,
        key.id,
        key.person_id,
        key.name,
        key.public_key,
        key.sign_count,
    )
    return done != "INSERT 0 0"


async def use(connection: Connection, credential_id: bytes, sign_count: int) -> bool:
    """Note that a passkey is used; False where it counts less than before, as a copy of it would."""
    done = await connection.execute(
        """
        UPDATE router.person_passkey SET sign_count = $2, used_at = now()
        WHERE id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0))
        """,
        credential_id,
        sign_count,
    )
    return done != "UPDATE 0"


async def remove(connection: Connection, person_id: int, number: int) -> str | None:
    """Remove one passkey of a person; returns its name, or None where there is none."""
    name: str | None = await connection.fetchval(
        "DELETE FROM router.person_passkey WHERE person_id = $1 AND number = $2 RETURNING name", person_id, number
    )
    return name


async def remove_all(connection: Connection, person_id: int) -> int:
    """Remove all passkeys of a person; returns how many there were."""
    done = await connection.execute("DELETE FROM router.person_passkey WHERE person_id = $1", person_id)
    return int(done.split()[-1])


async def put_challenge(connection: Connection, challenge: bytes, person_id: int | None) -> None:
    """Keep a challenge, for a person who adds a passkey, or for whoever signs in; old ones go, some each time."""
    await connection.execute(
        """
        DELETE FROM router.passkey_challenge WHERE challenge IN (
            SELECT challenge FROM router.passkey_challenge WHERE made_at < now() - $1::interval
            LIMIT 100 FOR UPDATE SKIP LOCKED
        )
        """,
        CHALLENGE_LASTS,
    )
    await connection.execute(
        "INSERT INTO router.passkey_challenge (challenge, person_id) VALUES ($1, $2)", challenge, person_id
    )


async def take_challenge(database: Database, challenge: bytes, person_id: int | None) -> bool:
    """Take a challenge, whatever comes of it; False where it was none for this, was taken, or is too old."""
    async with database.connection() as connection:
        done = await connection.execute(
            """
            DELETE FROM router.passkey_challenge
            WHERE challenge = $1 AND person_id IS NOT DISTINCT FROM $2 AND made_at > now() - $3::interval
            """,
            challenge,
            person_id,
            CHALLENGE_LASTS,
        )
    return done != "DELETE 0"
