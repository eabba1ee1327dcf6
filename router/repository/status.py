"""What an admin wants to know at a glance. Asked for by people, seldom: nothing here locks or writes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from router.model import Disposition
from router.repository.database import Connection, Database
from router.repository.sending import Sending, sending_of


@dataclass(frozen=True, slots=True)
class Process:
    """A router process; one that is not alive was killed within the last day, and what it held is free."""

    id: UUID
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source: who reads it, what is wrong with it, and how many of its copies have which disposition.

    A listener has no mailbox and no folder. `process_id` is that of an alive process, None where nobody reads it.
    `served` is False where nobody is to: the mailbox is no approved owner's, or is read now without this folder.
    """

    profile: str
    mailbox: str
    folder: str
    owner: str | None
    process_id: UUID | None
    served: bool
    begun: bool
    fault: str | None
    seen: int
    dispositions: dict[Disposition, int]


@dataclass(frozen=True, slots=True)
class RelayFault:
    """An outgoing profile whose relay could not be used when it was last tried, and since when."""

    profile: str
    fault: str
    fault_since: datetime
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How many emails are pending: `due` now, `later` (a retry, or send_after), `sending` at this moment.

    `not_approved` are those of the due and later ones whose owner is not approved, so that nobody sends them.
    """

    due: int
    later: int
    sending: int
    not_approved: int


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, of one moment. `unknown`: emails that wait for a person to say whether they arrived."""

    sending: Sending
    processes: tuple[Process, ...]
    sources: tuple[SourceStatus, ...]
    relays: tuple[RelayFault, ...]
    outbox: OutboxStatus
    unknown: int


async def read_status(database: Database, lease: timedelta) -> Status:
    """Read the status; a process that was not seen for the lease time is dead."""
    async with database.transaction() as connection:
        # One moment for all the numbers, so that they agree.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return Status(
            sending=await sending_of(connection),
            processes=await _processes(connection, lease),
            sources=await _sources(connection, lease),
            relays=await _relays(connection),
            outbox=await _outbox(connection),
            unknown=await _unknown(connection),
        )


async def _processes(connection: Connection, lease: timedelta) -> tuple[Process, ...]:
    rows = await connection.fetch(
        """
        SELECT id, host, pid, started_at, seen_at, seen_at > clock_timestamp() - $1::interval AS alive
        FROM router.process ORDER BY started_at, id
        """,
        lease,
    )
    return tuple(Process(**row) for row in rows)


async def _sources(connection: Connection, lease: timedelta) -> tuple[SourceStatus, ...]:
    """Count by reading router.decision once, half a second for a million copies (measured on two busy cores)."""
    rows = await connection.fetch(
        """
        SELECT s.profile, s.mailbox, s.folder, r.name AS owner, p.id AS process_id, s.begins_at < 'infinity' AS begun,
            -- A mailbox is read by one profile, and all its folders by one process.
            (s.mailbox = '' OR o.approved IS TRUE) AND (p.id IS NOT NULL) = bool_or(p.id IS NOT NULL) OVER (
                PARTITION BY s.mailbox, CASE s.mailbox WHEN '' THEN s.profile END
            ) AS served,
            s.fault, coalesce(d.seen, 0) AS seen, coalesce(d.promoted, 0) AS promoted,
            coalesce(d.duplicate, 0) AS duplicate, coalesce(d.ignored, 0) AS ignored, coalesce(d.held, 0) AS held,
            coalesce(d.dead, 0) AS dead
        FROM router.source AS s
        LEFT JOIN router.process AS p ON p.id = s.process_id AND p.seen_at > clock_timestamp() - $1::interval
        LEFT JOIN crm.record AS r ON r.id = s.owner_id
        LEFT JOIN crm.owner AS o ON o.mailbox = s.mailbox
        LEFT JOIN (
            SELECT source_id, count(*) AS seen,
                count(*) FILTER (WHERE disposition = 'promoted') AS promoted,
                count(*) FILTER (WHERE disposition = 'duplicate') AS duplicate,
                count(*) FILTER (WHERE disposition = 'ignored') AS ignored,
                count(*) FILTER (WHERE disposition = 'held') AS held,
                count(*) FILTER (WHERE disposition = 'dead') AS dead
            FROM router.decision GROUP BY source_id
        ) AS d ON d.source_id = s.id
        ORDER BY s.profile, s.mailbox, s.folder
        """,
        lease,
    )
    return tuple(
        SourceStatus(
            profile=row["profile"],
            mailbox=row["mailbox"],
            folder=row["folder"],
            owner=row["owner"],
            process_id=row["process_id"],
            served=row["served"],
            begun=row["begun"],
            fault=row["fault"],
            seen=row["seen"],
            dispositions={disposition: row[disposition.value] for disposition in Disposition},
        )
        for row in rows
    )


async def _relays(connection: Connection) -> tuple[RelayFault, ...]:
    rows = await connection.fetch("SELECT profile, fault, fault_since, next_try_at FROM router.relay ORDER BY profile")
    return tuple(RelayFault(**row) for row in rows)


async def _outbox(connection: Connection) -> OutboxStatus:
    row = await connection.fetchrow(
        """
        SELECT
            count(*) FILTER (WHERE q.process_id IS NULL AND q.next_at <= now()) AS due,
            count(*) FILTER (WHERE q.process_id IS NULL AND q.next_at > now()) AS later,
            count(*) FILTER (WHERE q.process_id IS NOT NULL) AS sending,
            count(*) FILTER (WHERE q.process_id IS NULL AND o.approved IS NOT TRUE) AS not_approved
        FROM router.outbox AS q LEFT JOIN crm.owner AS o ON o.record_id = q.owner_id
        """
    )
    assert row is not None
    return OutboxStatus(**row)


async def _unknown(connection: Connection) -> int:
    # By way of the attempts, which are narrow: crm.email is wide and has no index on its status.
    number: int = await connection.fetchval(
        """
        SELECT count(*) FROM (
            SELECT DISTINCT email_id FROM router.attempt WHERE finished_at IS NULL OR outcome LIKE 'unknown%'
        ) AS a JOIN crm.email AS e ON e.id = a.email_id WHERE e.status = 'unknown'
        """
    )
    return number
