"""Sources: what is read, by which process, and up to where.

A process holds a source as long as the process is seen (`processes.beat`); one not seen for the lease time is dead.
`epoch` is the fencing token: it counts the holders, so one that was thought dead cannot commit.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record

from router.errors import LeaseLost
from router.repository.database import Database, storable
from router.repository.incoming.registry import Source, register
from transports.base import Cursor

# New mail is dated by the mail server's clock. The cursor keeps the past out; the date, only old mail that is moved in,
# and what is listed again when the cursor is lost. Where the server's numbers tell what came since (IMAP), a slower
# clock is forgiven (`Listing.came_since`).
_CLOCKS_DIFFER = timedelta(minutes=5)


def began_at(begins_at: datetime) -> datetime:
    """Tell when the reading of a source began: a day is meant as it is, now was put a little earlier."""
    return begins_at if begins_at.timestamp() % 86400 == 0 else begins_at + _CLOCKS_DIFFER


@dataclass(frozen=True, slots=True)
class Lease:
    """A source that this process holds, and where its reading stood: `cursor` and all places are of that `account`.

    `begun` is False as long as a source that begins at the present was never read; `begins_at` means nothing till then.
    `former` is the dead process from which it was taken (`Process.title`).
    """

    source_id: int
    process_id: UUID
    epoch: int
    account: str
    cursor: Cursor | None
    begun: bool
    begins_at: datetime
    former: str | None = None

    @property
    def holder(self) -> tuple[int, UUID, int]:
        """The arguments of `HELD`."""
        return self.source_id, self.process_id, self.epoch

    def lost(self) -> LeaseLost:
        """Make the error for a source that is not held any more."""
        return LeaseLost(f"source {self.source_id} is held by another process now")


HELD = "id = $1 AND process_id = $2 AND epoch = $3 AND NOT router.is_copy()"
"""SQL: the source is still held; its arguments are `Lease.holder`. In a copy of the database nothing is."""

NO_FAULT = "fault = NULL, fault_since = NULL, next_try_at = NULL"
"""SQL: of a source, nothing is wrong."""


async def acquire(database: Database, process_id: UUID, wanted: Sequence[int], lease: timedelta) -> list[Lease]:
    """Take sources that nobody alive holds, at most this process's fair share of all that are wanted.

    A copy of the database has none.
    """
    async with database.transaction() as connection:
        rows = await connection.fetch(
            f"""
            WITH alive AS (
                SELECT id FROM router.process WHERE seen_at > clock_timestamp() - $3::interval
            ), share AS (
                SELECT ceil(cardinality($2::bigint[])::numeric / greatest(1, (SELECT count(*) FROM alive)))
                    - (SELECT count(*) FROM router.source WHERE id = ANY($2) AND process_id = $1) AS size
            ), free AS (
                SELECT s.id, s.process_id FROM router.source AS s
                -- What we read ourselves is not free, even if we were so slow to say so that we count as dead.
                WHERE s.id = ANY($2) AND NOT router.is_copy()
                    AND (s.process_id IS NULL OR s.process_id <> $1 AND s.process_id NOT IN (SELECT id FROM alive))
                    -- Another profile of a mailbox may begin with another folder: the holder of one has them all.
                    AND NOT EXISTS (
                        SELECT FROM router.source AS o WHERE o.identity = s.identity AND o.id <> s.id
                            AND o.process_id <> $1 AND o.process_id IN (SELECT id FROM alive)
                    )
                ORDER BY s.id LIMIT (SELECT greatest(0, size) FROM share)
                FOR UPDATE SKIP LOCKED
            )
            UPDATE router.source AS s SET process_id = $1, epoch = s.epoch + 1, changed_at = now()
            FROM free LEFT JOIN router.process AS p ON p.id = free.process_id
            WHERE s.id = free.id
            RETURNING {_LEASE_COLUMNS}, p.host || ':' || p.pid AS former
            """,  # noqa: S608  # a constant
            process_id,
            list(wanted),
            lease,
        )
    return [replace(_lease(process_id, row), former=row["former"]) for row in rows]


_LEASE_COLUMNS = """s.id, s.epoch, s.account, s.cursor, s.begins_at < 'infinity' AS begun,
                CASE WHEN isfinite(s.begins_at) THEN s.begins_at ELSE 'epoch' END AS begins_at"""


def _lease(process_id: UUID, row: Record) -> Lease:
    cursor = Cursor(row["cursor"]) if row["cursor"] else None
    return Lease(row["id"], process_id, row["epoch"], row["account"], cursor, row["begun"], row["begins_at"])


async def renew(database: Database, lease: Lease) -> Lease:
    """Read a lease again, with the cursor as it stands now. Raises LeaseLost if it is not ours any more."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"SELECT {_LEASE_COLUMNS} FROM router.source AS s WHERE {HELD}",  # noqa: S608  # constants
            *lease.holder,
        )
    if row is None:
        raise lease.lost()
    return _lease(lease.process_id, row)


async def claim_folders(database: Database, lease: Lease, folders: Sequence[Source]) -> dict[Source, Lease]:
    """Take the other folders of a mailbox of which we hold the first: its holder reads these folders, and no others.

    The lease of a folder that is ours already stays as it was. Raises LeaseLost where we hold the mailbox no more.
    """
    ids = await register(database, folders)
    async with database.transaction() as connection:
        # Locked, so that nobody takes the mailbox before its folders are ours.
        ours = await connection.fetchval(
            f"SELECT id FROM router.source WHERE {HELD} FOR SHARE",  # noqa: S608  # constants
            *lease.holder,
        )
        if ours is None:
            raise lease.lost()
        await connection.execute(
            """
            -- Only a new holder counts: with another epoch, those who read for us now would be refused.
            UPDATE router.source AS s SET process_id = $1, epoch = s.epoch + 1, changed_at = now()
            WHERE s.id = ANY($2::bigint[]) AND s.id <> $3 AND s.process_id IS DISTINCT FROM $1
            """,
            lease.process_id,
            list(ids.values()),
            lease.source_id,
        )
        rows = await connection.fetch(
            f"SELECT {_LEASE_COLUMNS} FROM router.source AS s WHERE s.id = ANY($1::bigint[]) AND s.id <> $2",  # noqa: S608  # a constant
            list(ids.values()),
            lease.source_id,
        )
        await connection.execute(
            f"""
            UPDATE router.source AS s SET process_id = NULL, {NO_FAULT},
                changed_at = now()
            FROM router.source AS first
            WHERE first.id = $1 AND s.identity = first.identity
                AND s.id <> $1 AND s.id <> ALL($2::bigint[]) AND (s.process_id IS NOT NULL OR s.fault IS NOT NULL)
            """,  # noqa: S608  # constants
            lease.source_id,
            list(ids.values()),
        )
    leases = {row["id"]: _lease(lease.process_id, row) for row in rows} | {lease.source_id: lease}
    return {source: leases[source_id] for source, source_id in ids.items()}


async def begin(database: Database, lease: Lease, cursor: Cursor) -> Lease:
    """Let a source begin at the present, which is this cursor. Raises LeaseLost if it is not ours any more.

    It begins once: tried again, because the first answer was lost, it says where it began then.
    """
    async with database.connection() as connection:
        begun = await connection.fetchrow(
            f"""
            UPDATE router.source SET {NO_FAULT},
                cursor = CASE WHEN begins_at = 'infinity' THEN $4 ELSE cursor END,
                begins_at = CASE WHEN begins_at = 'infinity' THEN now() - $5::interval ELSE begins_at END
            WHERE {HELD} RETURNING cursor, begins_at
            """,  # noqa: S608  # constants
            *lease.holder,
            cursor,
            _CLOCKS_DIFFER,
        )
    if begun is None:
        raise lease.lost()
    return replace(lease, cursor=Cursor(begun["cursor"]), begun=True, begins_at=begun["begins_at"])


async def held_by(
    database: Database, process_id: UUID, wanted: Sequence[int], lease: timedelta
) -> tuple[dict[int, int], int]:
    """The epochs of the sources that this process holds, by their ids, and how many would be its fair share."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT id, epoch FROM router.source "
            "WHERE id = ANY($2::bigint[]) AND process_id = $1 AND NOT router.is_copy()",
            process_id,
            list(wanted),
        )
        alive: int = await connection.fetchval(
            "SELECT count(*) FROM router.process WHERE seen_at > clock_timestamp() - $1::interval", lease
        )
    return {row["id"]: row["epoch"] for row in rows}, -(-len(wanted) // max(1, alive))


async def release(database: Database, process_id: UUID, epochs: Mapping[int, int]) -> None:
    """Let go of mailboxes, given as the first folders' sources with the epochs at which we held them.

    All folders of a mailbox go with the first, and none where another process has taken that one since.
    """
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH ours AS (
                -- Locked, so that nobody takes the mailbox before its folders are free.
                SELECT s.identity
                FROM router.source AS s
                JOIN unnest($2::bigint[], $3::bigint[]) AS w (id, epoch) ON s.id = w.id AND s.epoch = w.epoch
                WHERE s.process_id = $1
                ORDER BY s.identity
                FOR UPDATE OF s
            )
            UPDATE router.source AS s SET process_id = NULL
            FROM ours WHERE s.identity = ours.identity AND s.process_id = $1
            """,
            process_id,
            list(epochs),
            list(epochs.values()),
        )


async def note_fault(
    database: Database,
    source_id: int,
    fault: str | None,
    next_try_at: datetime | None = None,
    *,
    lease: Lease | None = None,
) -> None:
    """Say what is wrong with a source, in words for an admin, and when it is tried again; or that nothing is wrong.

    Who has lost the `lease` says nothing any more: it may be told late, and nobody would take it back.
    """
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.source SET fault = $2, next_try_at = $3,
                fault_since = CASE WHEN $2::text IS NOT NULL THEN coalesce(fault_since, clock_timestamp()) END
            WHERE id = $1 AND (fault, next_try_at) IS DISTINCT FROM ($2, $3)
                AND ($4::uuid IS NULL OR (process_id, epoch) = ($4, $5::bigint))
            """,
            source_id,
            storable(fault),
            next_try_at,
            lease.process_id if lease else None,
            lease.epoch if lease else None,
        )


async def forget_faults(database: Database, identities: Collection[str]) -> None:
    """Forget what was wrong with sources that nobody wants to read any more; wanted are those of these identities."""
    async with database.connection() as connection:
        await connection.execute(
            f"""
            UPDATE router.source SET {NO_FAULT}
            WHERE fault IS NOT NULL AND (identity = ANY($1::text[])) IS NOT TRUE
            """,  # noqa: S608  # constants
            list(identities),
        )
