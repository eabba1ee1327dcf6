"""Who is signed in, in which browsers, and who tried with wrong passwords."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from router.model.viewer import Viewer
from router.repository.database import Connection, Database
from router.repository.people.people import GRANTS, grants_of

_EXACT: Final = timedelta(minutes=1)  # how exactly it is known when a session was used last
_DEVICE: Final = timedelta(days=180)  # without use, after which a browser is known no more
_FORGET: Final = timedelta(hours=1)  # after the last wrong password


Way = Literal["password", "link", "proxy", "provider", "passkey"]
"""By what a session began."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """For how long a session lasts: without being used, and in all; and for how long it has begun just now."""

    idle: timedelta = timedelta(hours=2)
    all: timedelta = timedelta(hours=12)
    fresh: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a person who is signed in."""

    id: int
    made_at: datetime
    used_at: datetime
    way: Way
    address: str | None
    browser: str


async def begin(
    connection: Connection, digest: bytes, person_id: int, address: str | None, browser: str, way: Way
) -> int:
    """Begin a session, and return its id."""
    session_id: int = await connection.fetchval(
        """
        INSERT INTO router.person_session (hash, person_id, by_proxy, address, browser, way)
        VALUES ($1, $2, $5 = 'proxy', $3::text::inet, $4, $5) RETURNING id
        """,
        digest,
        person_id,
        address,
        browser,
        way,
    )
    return session_id


async def find(
    database: Database, digest: bytes, lasting: Lasting, *, is_used: bool
) -> tuple[int, Way, bool, Viewer] | None:
    """Find a session that lasts, and with `is_used` note that.

    Returns its id, how and whether just now it began, and who it is.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            SELECT s.id, s.way, p.id AS person_id, p.name, {GRANTS}, s.used_at < now() - $4::interval AS is_due,
                s.made_at > now() - $5::interval AS is_fresh
            FROM router.person_session AS s JOIN router.person AS p ON p.id = s.person_id
            WHERE s.hash = $1 AND s.used_at > now() - $2::interval AND s.made_at > now() - $3::interval
                AND p.disabled_at IS NULL
            """,  # noqa: S608  # constants
            digest,
            lasting.idle,
            lasting.all,
            _EXACT,
            lasting.fresh,
        )
        if row is None:
            return None
        if row["is_due"] and is_used:
            # Of many requests at once each may find it due; whoever finds it locked leaves it to the other.
            await connection.execute(
                """
                UPDATE router.person_session SET used_at = now() WHERE id = (
                    SELECT id FROM router.person_session WHERE id = $1 AND used_at < now() - $2::interval
                    FOR UPDATE SKIP LOCKED
                )
                """,
                row["id"],
                _EXACT,
            )
    return row["id"], row["way"], row["is_fresh"], Viewer(row["person_id"], row["name"], grants_of(row))


async def list_of(database: Database, person_id: int, lasting: Lasting) -> Sequence[Session]:
    """List the sessions of a person that last, the one that was used last first."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT id, made_at, used_at, way, host(address) AS address, browser FROM router.person_session
            WHERE person_id = $1 AND used_at > now() - $2::interval AND made_at > now() - $3::interval
            ORDER BY used_at DESC, id DESC
            """,
            person_id,
            lasting.idle,
            lasting.all,
        )
    return [Session(**row) for row in rows]


async def end(connection: Connection, person_id: int, session_id: int) -> bool:
    """End a session of a person; False where there is no such one."""
    done = await connection.execute(
        "DELETE FROM router.person_session WHERE id = $1 AND person_id = $2", session_id, person_id
    )
    return done != "DELETE 0"


async def end_others(connection: Connection, person_id: int, session_id: int) -> None:
    """End all sessions of a person but this one."""
    await connection.execute(
        "DELETE FROM router.person_session WHERE person_id = $2 AND id <> $1", session_id, person_id
    )


async def forget(connection: Connection, lasting: Lasting) -> None:
    """Delete sessions that have expired, and browsers that nobody has used for long: some, each time."""
    for table, key, age in (("person_session", "id", lasting.idle), ("person_device", "hash", _DEVICE)):
        await connection.execute(
            f"""
            DELETE FROM router.{table} WHERE {key} IN (
                SELECT {key} FROM router.{table} WHERE used_at < now() - $1::interval LIMIT 100 FOR UPDATE SKIP LOCKED
            )
            """,  # noqa: S608  # constants
            age,
        )


# --- Browsers ---------------------------------------------------------------------------------------------------------


async def is_device_of(database: Database, digest: bytes, name: str) -> bool:
    """Whether the person of this name has signed in in this browser."""
    async with database.connection() as connection:
        return bool(
            await connection.fetchval(
                """
                SELECT EXISTS (
                    SELECT FROM router.person_device AS d JOIN router.person AS p ON p.id = d.person_id
                    WHERE d.hash = $1 AND p.name = $2 AND d.used_at > now() - $3::interval
                )
                """,
                digest,
                name,
                _DEVICE,
            )
        )


async def know_device(connection: Connection, digest: bytes, person_id: int) -> None:
    """Know a browser, for this person; a person who signs in there later takes it over."""
    await connection.execute(
        """
        INSERT INTO router.person_device (hash, person_id) VALUES ($1, $2)
        ON CONFLICT (hash) DO UPDATE SET person_id = excluded.person_id, used_at = now()
        """,
        digest,
        person_id,
    )


# --- Wrong passwords --------------------------------------------------------------------------------------------------


async def take_attempts(database: Database, keys: Mapping[bytes, int], longest: timedelta) -> timedelta | None:
    """Count an attempt on all these keys, or on none where one is barred: then for how long.

    Beyond as many as a key may have at once, each bars it for twice as long as the one before, up to `longest`.
    Attempts that come at the same time are counted in turn.
    """
    ordered = sorted(keys.items())
    async with database.transaction() as connection:
        await connection.execute(
            "DELETE FROM router.sign_in_attempt WHERE key IN (SELECT key FROM router.sign_in_attempt "
            "WHERE at < now() - $1::interval LIMIT 100 FOR UPDATE SKIP LOCKED)",
            _FORGET,
        )
        await connection.execute(
            """
            INSERT INTO router.sign_in_attempt (key, wrong, at, barred_until)
            SELECT key, 0, now(), now() FROM unnest($1::bytea[]) AS key ORDER BY key
            ON CONFLICT (key) DO UPDATE SET at = excluded.at
            """,
            [key for key, _ in ordered],
        )
        # Later than any clock that was put back since would have it, nobody is barred.
        barred: timedelta | None = await connection.fetchval(
            """
            SELECT max(barred_until) - clock_timestamp() FROM router.sign_in_attempt
            WHERE key = ANY ($1::bytea[]) AND barred_until > clock_timestamp()
                AND barred_until < clock_timestamp() + 2 * $2::interval
            """,
            [key for key, _ in ordered],
            longest,
        )
        if barred is None:
            await connection.execute(
                """
                UPDATE router.sign_in_attempt AS a SET
                    wrong = a.wrong + 1,
                    barred_until = CASE WHEN a.wrong + 1 < one.free THEN now()
                        ELSE now() + least(
                            $3::interval, interval '1 second' * power(2, least(a.wrong + 1 - one.free, 20))
                        )
                    END
                FROM unnest($1::bytea[], $2::integer[]) AS one (key, free) WHERE a.key = one.key
                """,
                [key for key, _ in ordered],
                [free for _, free in ordered],
                longest,
            )
    return barred


async def give_back(connection: Connection, keys: Sequence[bytes], cleared: Sequence[bytes]) -> None:
    """The password was right: `keys` are as before the attempt, `cleared` as if nobody had ever tried."""
    await connection.execute("DELETE FROM router.sign_in_attempt WHERE key = ANY ($1::bytea[])", list(cleared))
    await connection.execute(
        """
        UPDATE router.sign_in_attempt SET wrong = greatest(wrong - 1, 0), barred_until = now() WHERE key IN (
            SELECT key FROM router.sign_in_attempt WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE
        )
        """,
        list(keys),
    )
