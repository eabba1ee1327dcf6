"""People who may use the console: accounts, grants, one-time links."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from router.model.viewer import Grant, StaffRole
from router.repository.database import Connection, Database

_FIRST: Final = 0x70656F706C65  # the advisory lock of the first administrator: "people"

GRANTS: Final = """
    (SELECT coalesce(array_agg((g.role, g.owner_id) ORDER BY g.owner_id NULLS FIRST), '{}')
     FROM router.person_grant AS g WHERE g.person_id = p.id) AS grants
"""
"""A column with the grants of a person `p`."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person's account. `has_password`: one was chosen. `seen_at`: when a session of the person's was used.

    `has_identity`: the person has signed in by the provider. `passkeys`: how many there are.
    """

    id: int
    name: str
    grants: tuple[Grant, ...]
    made_at: datetime
    disabled_at: datetime | None
    has_password: bool
    seen_at: datetime | None
    has_identity: bool
    passkeys: int

    @property
    def can_sign_in(self) -> bool:
        """Whether there is a way in for the person, beside a link."""
        return self.has_password or self.has_identity or self.passkeys > 0


@dataclass(frozen=True, slots=True)
class Secret:
    """By what a person is recognized at signing in."""

    person_id: int
    password: str | None
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Account:
    """An account that is held; `follows_groups`: its role is that of groups at the provider."""

    name: str
    is_disabled: bool
    follows_groups: bool
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link that is valid; `name` None: it is for the first administrator."""

    person_id: int | None
    name: str | None


def grants_of(row: Any) -> tuple[Grant, ...]:
    """Read the column that `GRANTS` makes."""
    return tuple(Grant(StaffRole(role), owner_id) for role, owner_id in row["grants"])


async def list_people(database: Database) -> Sequence[Person]:
    """List all people by name."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT p.id, p.name, p.made_at, p.disabled_at, p.password IS NOT NULL AS has_password, {GRANTS},
                (SELECT max(s.used_at) FROM router.person_session AS s WHERE s.person_id = p.id) AS seen_at,
                EXISTS (SELECT FROM router.person_identity AS i WHERE i.person_id = p.id) AS has_identity,
                (SELECT count(*) FROM router.person_passkey AS k WHERE k.person_id = p.id) AS passkeys
            FROM router.person AS p ORDER BY p.name
            """  # noqa: S608  # constants
        )
    return [
        Person(
            row["id"],
            row["name"],
            grants_of(row),
            row["made_at"],
            row["disabled_at"],
            has_password=row["has_password"],
            seen_at=row["seen_at"],
            has_identity=row["has_identity"],
            passkeys=row["passkeys"],
        )
        for row in rows
    ]


async def there_are_any(database: Database) -> bool:
    """Whether there is a person."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM router.person)"))


async def add(connection: Connection, name: str, grants: Collection[Grant], password: str | None = None) -> int | None:
    """Add a person, and return the id; None where there is one of this name."""
    person_id: int | None = await connection.fetchval(
        "INSERT INTO router.person (name, password) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id", name, password
    )
    if person_id is not None:
        await grant(connection, person_id, grants)
    return person_id


async def grant(
    connection: Connection, person_id: int, grants: Collection[Grant], *, follows_groups: bool = False
) -> None:
    """Grant this in place of what was granted; `follows_groups`: by a group, until somebody grants another."""
    await connection.execute("DELETE FROM router.person_grant WHERE person_id = $1", person_id)
    await connection.executemany(
        "INSERT INTO router.person_grant (person_id, owner_id, role) VALUES ($1, $2, $3)",
        [(person_id, one.owner_id, one.role.value) for one in grants],
    )
    await connection.execute(
        "UPDATE router.person SET follows_groups = $2 WHERE id = $1 AND follows_groups <> $2", person_id, follows_groups
    )


async def follows_groups(database: Database, person_id: int) -> bool:
    """Whether the role of a person is that of groups at the provider."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("SELECT follows_groups FROM router.person WHERE id = $1", person_id))


async def hold(connection: Connection, person_id: int) -> Account:
    """Read an account, and hold the row: what is changed of one person is changed in turn."""
    await connection.execute("SELECT FROM router.person WHERE id = $1 FOR UPDATE", person_id)
    row = await connection.fetchrow(
        f"SELECT name, disabled_at IS NOT NULL AS is_disabled, follows_groups, {GRANTS} FROM router.person AS p "  # noqa: S608  # constants
        "WHERE id = $1",
        person_id,
    )
    assert row is not None  # none is ever deleted
    return Account(row["name"], row["is_disabled"], row["follows_groups"], grants_of(row))


async def find_id(connection: Connection, name: str) -> int | None:
    """Find a person, and hold the row: what is changed of one person is changed in turn."""
    found: int | None = await connection.fetchval("SELECT id FROM router.person WHERE name = $1 FOR UPDATE", name)
    return found


async def find_secret(database: Database, name: str) -> Secret | None:
    """Find by what a person of this name is recognized."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT id, password, disabled_at IS NOT NULL AS is_disabled FROM router.person WHERE name = $1", name
        )
    return Secret(row["id"], row["password"], is_disabled=row["is_disabled"]) if row else None


async def holds(connection: Connection, person_id: int, passwords: Collection[str] | None) -> bool:
    """Whether a person may come in, by one of these passwords where any are named; nobody changes that meanwhile.

    Asked in the transaction that relies on it: a password takes long to check, and may be another by then.
    """
    found: bool | None = await connection.fetchval(
        """
        SELECT disabled_at IS NULL AND ($2::text[] IS NULL OR password = ANY ($2)) FROM router.person WHERE id = $1
        FOR NO KEY UPDATE
        """,
        person_id,
        None if passwords is None else list(passwords),
    )
    return bool(found)


async def set_password(connection: Connection, person_id: int, password: str | None) -> None:
    """Set a password, or none any more; sessions and links that there were end."""
    await connection.execute("UPDATE router.person SET password = $2 WHERE id = $1", person_id, password)
    await end_all(connection, person_id)


async def change_password(connection: Connection, person_id: int, password: str) -> None:
    """Change a password; links end, sessions are the caller's."""
    await connection.execute("UPDATE router.person SET password = $2 WHERE id = $1", person_id, password)
    await connection.execute("DELETE FROM router.person_link WHERE person_id = $1", person_id)


async def rehash(database: Database, person_id: int, old: str, new: str) -> None:
    """Keep the same password in another form, unless it was changed meanwhile."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.person SET password = $3 WHERE id = $1 AND password = $2", person_id, old, new
        )


async def set_disabled(connection: Connection, person_id: int, *, disabled: bool) -> None:
    """Disable an account, or enable it; disabled, its sessions and links end, and its browsers are known no more.

    What is enabled again has no password until one is chosen: the one before may be why it was disabled.
    """
    await connection.execute(
        """
        UPDATE router.person SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END,
            password = CASE WHEN $2 OR disabled_at IS NULL THEN password END
        WHERE id = $1
        """,
        person_id,
        disabled,
    )
    if disabled:
        await end_all(connection, person_id)
        await connection.execute("DELETE FROM router.person_device WHERE person_id = $1", person_id)


async def end_all(connection: Connection, person_id: int) -> int:
    """End all sessions and links of a person; returns how many sessions there were."""
    await connection.execute("DELETE FROM router.person_link WHERE person_id = $1", person_id)
    done = await connection.execute("DELETE FROM router.person_session WHERE person_id = $1", person_id)
    return int(done.split()[-1])


async def is_other_administrator(connection: Connection, person_id: int) -> bool:
    """Whether somebody else administers: the last one cannot be taken away. Others who ask wait until we have done."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _FIRST)
    return bool(
        await connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM router.person AS p JOIN router.person_grant AS g ON g.person_id = p.id
                WHERE p.id <> $1 AND p.disabled_at IS NULL AND g.role = 'administer'
            )
            """,
            person_id,
        )
    )


# --- Links ------------------------------------------------------------------------------------------------------------


async def add_link(connection: Connection, digest: bytes, person_id: int | None, lasts: timedelta) -> None:
    """Add a link; of a person's links the last one counts."""
    await connection.execute("DELETE FROM router.person_link WHERE person_id = $1 OR expires_at <= now()", person_id)
    await connection.execute(
        "INSERT INTO router.person_link (hash, person_id, expires_at) VALUES ($1, $2, now() + $3)",
        digest,
        person_id,
        lasts,
    )


_LINK: Final = """
    SELECT l.person_id, p.name FROM router.person_link AS l LEFT JOIN router.person AS p ON p.id = l.person_id
    WHERE l.hash = $1 AND l.expires_at > now() AND p.disabled_at IS NULL
        AND (l.person_id IS NOT NULL OR NOT EXISTS (SELECT FROM router.person))
"""


async def find_link(database: Database, digest: bytes) -> Link | None:
    """Find a link that is valid."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_LINK, digest)
    return Link(row["person_id"], row["name"]) if row else None


async def use_link(connection: Connection, digest: bytes) -> Link | None:
    """Take a link, so that it is valid no more; None where it is not. Who comes at the same time waits for that."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _FIRST)
    row = await connection.fetchrow(_LINK, digest)
    if row is None:
        return None
    await connection.execute("DELETE FROM router.person_link WHERE hash = $1 OR person_id IS NULL", digest)
    return Link(row["person_id"], row["name"])
