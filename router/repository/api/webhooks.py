"""Webhooks in the database: who is told of which events, how far each has come, and which process tells it.

A process takes a webhook by writing its own id into the row, and counts `fence` on. Whoever changes the webhook counts
it on, too: a process that was thought dead, or was slow, writes nothing any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model.event import BEGINNING, Place
from router.model.webhook import ROUTER, Webhook
from router.repository.database import Connection, Database
from router.repository.people.audit_log import note

MOST: Final = 100
"""Webhooks at most: each that fails keeps a request waiting, in the process that tells it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A webhook that this process tells now; `secret` is sealed, and `failures` in a row came before."""

    id: int
    name: str
    url: str
    kinds: frozenset[str]
    place: Place
    failures: int
    fence: int
    secret: bytes = field(repr=False)


# Whether there is an event after a place that can be told by now; whether it is of its kinds is seen when it is read.
_WAITING: Final = """EXISTS (
    SELECT FROM crm.event AS e
    WHERE (e.transaction, e.id) > (w.transaction, w.event_id) AND e.transaction < crm.events_until()
)"""

_COLUMNS: Final = """w.id, w.name, w.url, w.kinds, w.made_by, w.made_at, w.transaction::text AS transaction,
    w.event_id, w.delivered, w.delivered_at, w.missed, w.missed_at, w.failures, w.fault, w.fault_since, w.next_try_at,
    w.paused_at, w.paused_by"""
_SHOWN: Final = f"SELECT {_COLUMNS}, {_WAITING} AS waiting FROM router.webhook AS w "  # noqa: S608  # constants


async def add(database: Database, name: str, url: str, kinds: Collection[str], secret: bytes, by: str) -> bool | None:
    """Add one, from the events that come now on; False where there is one of this name, None where there are MOST."""
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE router.webhook IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT count(*) >= $1 FROM router.webhook", MOST):
            return None
        place = await _end(connection)
        added = await connection.fetchval(
            """
            INSERT INTO router.webhook (name, url, kinds, secret, made_by, transaction, event_id)
            VALUES ($1, $2, $3, $4, $5, $6::text::xid8, $7) ON CONFLICT (name) DO NOTHING RETURNING true
            """,
            name,
            url,
            list(kinds),
            secret,
            by,
            str(place.transaction),
            place.id,
        )
        if added:
            await note(connection, by, "webhook-added", name)
    return bool(added)


async def list_all(database: Database) -> Sequence[Webhook]:
    """List all, by name."""
    async with database.connection() as connection:
        return [_webhook(row) for row in await connection.fetch(_SHOWN + "ORDER BY w.name")]


async def states_of(connection: Connection) -> Sequence[Webhook]:
    """List all, by name, without looking at events."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM router.webhook AS w ORDER BY w.name")  # noqa: S608
    return [_webhook(row) for row in rows]


async def find(database: Database, name: str) -> Webhook | None:
    """Find one by its name."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_SHOWN + "WHERE w.name = $1", name)
    return _webhook(row) if row else None


async def remove(database: Database, name: str, by: str) -> bool:
    """Remove one; False where there is none of this name."""
    async with database.transaction() as connection:
        removed = await connection.fetchval("DELETE FROM router.webhook WHERE name = $1 RETURNING true", name)
        if removed:
            await note(connection, by, "webhook-removed", name)
    return bool(removed)


async def pause(database: Database, name: str, by: str) -> bool:
    """Pause one, unless it is paused; False where there is none of this name."""
    return await _change(
        database,
        name,
        by,
        "webhook-paused",
        "paused_at = coalesce(paused_at, now()), paused_by = coalesce(paused_by, $2)",
        by,
    )


_RESUMED: Final = """paused_at = NULL, paused_by = NULL, failures = 0, fault = NULL, fault_since = NULL,
    next_try_at = NULL, missed = 0, missed_at = NULL"""


async def resume(database: Database, name: str, by: str) -> bool:
    """Have one told at once from where it stands; what it missed has been read. False where there is none."""
    return await _change(database, name, by, "webhook-resumed", _RESUMED)


async def replay(database: Database, name: str, after: Place | None, by: str) -> bool:
    """Have one told again what came after a place; None: only what comes now on. False where there is none."""
    async with database.transaction() as connection:
        place = await _end(connection) if after is None else after
        moved = "transaction = $2::text::xid8, event_id = $3"
        return await _change_by(
            connection,
            name,
            by,
            "webhook-replayed",
            f"{_RESUMED}, {moved}",
            str(place.transaction),
            place.id,
        )


async def _change(database: Database, name: str, by: str, action: str, changes: str, *values: object) -> bool:
    async with database.transaction() as connection:
        return await _change_by(connection, name, by, action, changes, *values)


async def _change_by(connection: Connection, name: str, by: str, action: str, changes: str, *values: object) -> bool:
    changed = await connection.fetchval(
        f"""
        UPDATE router.webhook SET process_id = NULL, fence = fence + 1, {changes} WHERE name = $1 RETURNING true
        """,  # noqa: S608  # constants
        name,
        *values,
    )
    if changed:
        await note(connection, by, action, name)
    return bool(changed)


async def _end(connection: Connection) -> Place:
    """Where the events end that can be told by now."""
    row = await connection.fetchrow(
        """
        SELECT e.transaction::text AS transaction, e.id FROM crm.event AS e
        WHERE e.transaction < crm.events_until() ORDER BY e.transaction DESC, e.id DESC LIMIT 1
        """
    )
    return Place(int(row["transaction"]), row["id"]) if row else BEGINNING


def _webhook(row: Record) -> Webhook:
    columns = dict(row)
    place = Place(int(columns.pop("transaction")), columns.pop("event_id"))
    return Webhook(**{**columns, "kinds": tuple(columns["kinds"]), "place": place})


# The process that tells.


async def has_any(database: Database) -> bool:
    """Whether there is any webhook."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM router.webhook)"))


async def take(database: Database, process_id: UUID, lease: timedelta, not_these: Collection[int]) -> Sequence[Taken]:
    """Take those that are to be told now and that no living process tells; none in a copy of the database.

    `lease` is the time after which a silent process is dead.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            UPDATE router.webhook AS t SET process_id = $1, fence = t.fence + 1
            FROM (
                SELECT w.id FROM router.webhook AS w
                WHERE w.paused_at IS NULL AND coalesce(w.next_try_at <= clock_timestamp(), true)
                    AND w.id <> ALL($3::bigint[])
                    AND NOT EXISTS (
                        SELECT FROM router.process AS p
                        WHERE p.id = w.process_id AND p.seen_at > clock_timestamp() - $2::interval
                            AND p.id <> $1
                    )
                    AND {_WAITING} AND NOT router.is_copy()
                ORDER BY w.id FOR UPDATE OF w SKIP LOCKED
            ) AS due
            WHERE t.id = due.id
            RETURNING t.id, t.name, t.url, t.kinds, t.transaction::text AS transaction, t.event_id, t.failures, t.fence,
                t.secret
            """,  # noqa: S608  # constants
            process_id,
            lease,
            list(not_these),
        )
    return [
        Taken(
            row["id"],
            row["name"],
            row["url"],
            frozenset(row["kinds"]),
            Place(int(row["transaction"]), row["event_id"]),
            row["failures"],
            row["fence"],
            row["secret"],
        )
        for row in rows
    ]


async def is_ours(database: Database, taken: Taken) -> bool:
    """Whether it is still ours to tell."""
    async with database.connection() as connection:
        found = await connection.fetchval(
            "SELECT true FROM router.webhook WHERE id = $1 AND fence = $2 AND NOT router.is_copy()",
            taken.id,
            taken.fence,
        )
    return bool(found)


async def note_told(database: Database, taken: Taken, place: Place, number: int) -> bool:
    """Note that so many events up to a place were told; False where it is not ours any more."""
    async with database.connection() as connection:
        noted = await connection.fetchval(
            """
            UPDATE router.webhook SET transaction = $3::text::xid8, event_id = $4, delivered = delivered + $5,
                delivered_at = CASE WHEN $5 > 0 THEN now() ELSE delivered_at END,
                failures = CASE WHEN $5 > 0 THEN 0 ELSE failures END,
                fault = CASE WHEN $5 = 0 THEN fault END, fault_since = CASE WHEN $5 = 0 THEN fault_since END,
                next_try_at = CASE WHEN $5 = 0 THEN next_try_at END
            WHERE id = $1 AND fence = $2 RETURNING true
            """,
            taken.id,
            taken.fence,
            str(place.transaction),
            place.id,
            number,
        )
    return bool(noted)


async def note_failed(database: Database, taken: Taken, fault: str, pause: timedelta | None) -> bool:
    """Note that the next event could not be told, and let go; tried again after `pause`. None: it is paused."""
    async with database.connection() as connection:
        noted = await connection.fetchval(
            """
            UPDATE router.webhook SET failures = failures + 1, fault = $3, fault_since = coalesce(fault_since, now()),
                next_try_at = now() + $4::interval,
                paused_at = CASE WHEN $4::interval IS NULL THEN now() END,
                paused_by = CASE WHEN $4::interval IS NULL THEN $5 END, process_id = NULL
            WHERE id = $1 AND fence = $2 RETURNING true
            """,
            taken.id,
            taken.fence,
            fault,
            pause,
            ROUTER,
        )
    return bool(noted)


async def note_unopened(database: Database, taken: Taken, fault: str) -> None:
    """Note why this process cannot tell it, and let go: perhaps another can."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.webhook SET fault = $3, fault_since = coalesce(fault_since, now()), process_id = NULL
            WHERE id = $1 AND fence = $2
            """,
            taken.id,
            taken.fence,
            fault,
        )


async def let_go(database: Database, taken: Taken) -> None:
    """Let go of it, so that the next to look takes it."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.webhook SET process_id = NULL WHERE id = $1 AND fence = $2", taken.id, taken.fence
        )


async def reseal(database: Database, taken: Taken, secret: bytes) -> None:
    """Keep the same secret as another key sealed it."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.webhook SET secret = $3 WHERE id = $1 AND secret = $2", taken.id, taken.secret, secret
        )
