"""What an admin wants to know at a glance. Nothing here locks or writes, and nothing reads a table that grows."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model import Disposition
from router.model.webhook import Webhook
from router.repository.api.webhooks import states_of
from router.repository.database import Connection, Database
from router.repository.outgoing.queue import MOST, Queue, queue_of
from router.repository.outgoing.sending import Sending, sending_of
from router.repository.outgoing.sent_copies import Waiting as WaitingCopies
from router.repository.outgoing.sent_copies import waiting_of
from router.repository.processes import Process, processes_of
from router.repository.records.creation_states import OpenRecords, open_ones
from router.repository.records.merges import StuckMerges, stuck_of
from router.repository.rulings.rulings import Faulty as FaultyRulings
from router.repository.rulings.rulings import faulty_of
from router.repository.rulings.unresolved import Total as Unresolved
from router.repository.rulings.unresolved import total_of

_SOME = 20  # ids of emails that are named; all of them are counted


@dataclass(frozen=True, slots=True)
class LastAudit:
    """What the last audit of a source found: when it ended, how many messages lay there, waited, or were missing.

    `missing_since`: when one first found some missing. `fault` says why a later one could not be ended; `at` is None
    where none ever was.
    """

    at: datetime | None
    messages: int
    waiting: int
    missing: int
    missing_since: datetime | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source: who reads it, what is wrong with it, and how many of its copies have which disposition.

    A listener has no mailbox and no folder. `process_id` is that of an alive process, None where nobody reads it.
    `served` is False where nobody is to: the mailbox is no approved owner's, or is read now without this folder.
    `fault_since` and `next_try_at` are set while it is at fault; `last_at` is when its last copy was decided on,
    `lag` how many seconds after its arrival, `seen_at` when the process that reads it was last seen.
    `audit` is what its last audit found, None where there was none.
    """

    profile: str
    mailbox: str
    folder: str
    owner: str | None
    process_id: UUID | None
    served: bool
    begun: bool
    fault: str | None
    fault_since: datetime | None
    next_try_at: datetime | None
    last_at: datetime | None
    lag: float | None
    seen_at: datetime | None
    seen: int
    dispositions: dict[Disposition, int]
    audit: LastAudit | None = None

    @property
    def success_at(self) -> datetime | None:
        """When it worked last: as its process was last seen, or where it is at fault, since when; None: not known."""
        if not self.begun:
            return None
        return self.fault_since if self.fault else self.seen_at

    @property
    def title(self) -> str:
        """Profile, mailbox and folder, as far as it has them."""
        return " ".join(filter(None, (self.profile, self.place, self.folder)))

    @property
    def place(self) -> str:
        """The mailbox, or what it is in place of one."""
        return self.mailbox or ("(shared mailbox)" if self.folder else "(listener)")


@dataclass(frozen=True, slots=True)
class FaultyRelay:
    """An outgoing profile whose relay could not be used when it was last tried, and since when.

    `state`: paused, or login_refused. `waiting` emails are due and wait for it; at least so many, where `more`.
    """

    profile: str
    fault: str
    fault_since: datetime
    next_try_at: datetime | None
    state: str = "paused"
    waiting: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Emails that wait for a person to say whether they arrived: their number, the oldest few, and since when."""

    count: int
    since: datetime | None
    email_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Emails that failed within the last day for one class of reasons, and the latest few of them.

    `code` is the class and subject of the enhanced status code, such as "5.1" (RFC 3463), or the first digit of the
    reply code; empty where no relay was asked. `given_up` of them were tried for too long. Where more than MOST failed
    within a day, only the latest so many are counted.
    """

    code: str
    count: int
    email_ids: tuple[UUID, ...]
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the whole router at one moment."""

    now: datetime
    sending: Sending
    processes: tuple[Process, ...]
    sources: tuple[SourceStatus, ...]
    relays: tuple[FaultyRelay, ...]
    outbox: Queue
    unknown: Unknown
    failed: tuple[Failed, ...]
    sent_copies: tuple[WaitingCopies, ...]
    records: OpenRecords
    unresolved: Unresolved = field(default_factory=Unresolved)
    merges: StuckMerges = field(default_factory=StuckMerges)
    rulings: FaultyRulings = field(default_factory=FaultyRulings)
    webhooks: tuple[Webhook, ...] = ()


async def read_status(database: Database, lease: timedelta, *, senders: bool = True) -> Status:
    """Read the status; a process that was not seen for the lease time is dead.

    Without `senders`, unresolved senders are not counted: of all that is read it takes longest, but for the outbox.
    """
    async with database.transaction() as connection:
        # One moment for all the numbers, so that they agree.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        outbox = await queue_of(connection)
        return Status(
            now=await connection.fetchval("SELECT now()"),
            sending=await sending_of(connection),
            processes=await processes_of(connection, lease),
            sources=await _sources(connection, lease),
            relays=await _relays(connection, outbox),
            outbox=outbox,
            unknown=await _unknown(connection),
            failed=await _failed(connection),
            sent_copies=tuple(await waiting_of(connection)),
            records=await open_ones(connection),
            unresolved=await total_of(connection) if senders else Unresolved(),
            merges=await stuck_of(connection),
            rulings=await faulty_of(connection),
            webhooks=tuple(await states_of(connection)),
        )


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """Which sources are meant: with `text` in profile, mailbox, folder or owner, and in this state; or all.

    `state`: wrong (at fault, or something is missing), idle (nobody reads it though somebody is to), read, or former
    (nobody is to read it).
    """

    text: str = ""
    state: str = ""


async def list_sources(
    database: Database,
    lease: timedelta,
    which: SourceFilter,
    after: tuple[str, str, str] = ("", "", ""),
    limit: int = 100,
) -> list[SourceStatus]:
    """List sources by profile, mailbox and folder, from those after `after` on. There are thousands at most."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT s.* FROM ({_SOURCES}) AS s
            WHERE (s.profile, s.mailbox, s.folder) > ($2, $3, $4) AND {_MEANT}
            ORDER BY s.profile, s.mailbox, s.folder LIMIT $7
            """,  # noqa: S608  # constants
            lease,
            *after,
            which.text.lower(),
            which.state,
            limit,
        )
    return [_source(row) for row in rows]


async def count_sources(database: Database, lease: timedelta, text: str) -> dict[str, int]:
    """Count sources with this text by state, and all of them as "". A source can be in two states."""
    states = ("", "wrong", "idle", "read", "former")
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT w.state, count(*) FILTER (WHERE {_MEANT.replace("$5", "$2").replace("$6", "w.state")}) AS number
            FROM ({_SOURCES}) AS s CROSS JOIN unnest($3::text[]) AS w (state) GROUP BY w.state
            """,  # noqa: S608  # constants
            lease,
            text.lower(),
            states,
        )
    found = {row["state"]: row["number"] for row in rows}
    return {one: found.get(one, 0) for one in states}


async def list_faulty_sources(database: Database, lease: timedelta) -> list[SourceStatus]:
    """List only sources that are at fault, or of which an audit found something missing; the others are not read."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            WITH faulty AS MATERIALIZED (
                SELECT f.id, f.identity FROM router.source AS f WHERE f.fault IS NOT NULL
                UNION
                SELECT f.id, f.identity FROM router.audit AS g JOIN router.source AS f ON f.id = g.source_id
                WHERE g.missing > 0
            )
            SELECT s.* FROM (
                {_SOURCES} WHERE s.id IN (SELECT f.id FROM faulty AS f)
                    OR s.identity IN (SELECT f.identity FROM faulty AS f)  -- what is served shows in all its folders
            ) AS s
            WHERE s.fault IS NOT NULL OR (s.served AND s.missing > 0)
            ORDER BY s.profile, s.mailbox, s.folder
            """,  # noqa: S608  # constants
            lease,
        )
    return [_source(row) for row in rows]


async def _sources(connection: Connection, lease: timedelta) -> tuple[SourceStatus, ...]:
    rows = await connection.fetch(f"{_SOURCES} ORDER BY s.profile, s.mailbox, s.folder", lease)
    return tuple(_source(row) for row in rows)


_SOURCES: Final = """
    SELECT s.profile, s.mailbox, s.folder, p.id AS process_id, s.begins_at < 'infinity' AS begun,
        -- One look for each: there are far more records than owners.
        (SELECT r.name FROM crm.record AS r WHERE r.id = s.owner_id) AS owner,
        -- A mailbox is read by one profile, and all its folders by one process.
        s.identity IS NOT NULL AND (s.mailbox = '' OR o.approved IS TRUE)
            AND (p.id IS NOT NULL) = bool_or(p.id IS NOT NULL) OVER (PARTITION BY s.identity) AS served,
        s.fault, s.fault_since, s.next_try_at, c.last_at, extract(epoch FROM c.lag)::double precision AS lag, p.seen_at,
        coalesce(c.promoted, 0) AS promoted, coalesce(c.duplicate, 0) AS duplicate,
        coalesce(c.ignored, 0) AS ignored, coalesce(c.held, 0) AS held, coalesce(c.dead, 0) AS dead,
        a.audited_at, a.messages, a.waiting, a.missing, a.missing_since, a.fault AS audit_fault
    FROM router.source AS s
    LEFT JOIN router.process AS p ON p.id = s.process_id AND p.seen_at > clock_timestamp() - $1::interval
    LEFT JOIN crm.owner AS o ON o.mailbox = s.mailbox
    LEFT JOIN router.source_count AS c ON c.source_id = s.id
    LEFT JOIN router.audit AS a ON a.source_id = s.id
"""

_MEANT: Final = """
    ($5 = '' OR position($5 IN lower(concat_ws(' ', s.profile, s.mailbox, s.folder, s.owner))) > 0)
    AND CASE $6
        WHEN '' THEN true
        WHEN 'wrong' THEN s.served AND (s.fault IS NOT NULL OR s.missing > 0)
        WHEN 'idle' THEN s.served AND s.process_id IS NULL AND s.folder <> ''
        WHEN 'read' THEN s.served AND s.process_id IS NOT NULL
        ELSE NOT s.served
    END
"""


_NAMES: Final = tuple((one, one.value) for one in Disposition)  # looked up once: there are thousands of sources


def _source(row: Record) -> SourceStatus:
    dispositions = {one: row[name] for one, name in _NAMES}
    return SourceStatus(
        profile=row["profile"],
        mailbox=row["mailbox"],
        folder=row["folder"],
        owner=row["owner"],
        process_id=row["process_id"],
        served=row["served"],
        begun=row["begun"],
        fault=row["fault"],
        fault_since=row["fault_since"],
        next_try_at=row["next_try_at"],
        last_at=row["last_at"],
        lag=row["lag"],
        seen_at=row["seen_at"],
        seen=sum(dispositions.values()),
        dispositions=dispositions,
        audit=_audit(row),
    )


def _audit(row: Record) -> LastAudit | None:
    if row["audited_at"] is None and row["audit_fault"] is None:
        return None
    return LastAudit(
        row["audited_at"],
        row["messages"] or 0,
        row["waiting"] or 0,
        row["missing"] or 0,
        row["missing_since"],
        row["audit_fault"],
    )


async def read_relays(database: Database, outbox: Queue) -> tuple[FaultyRelay, ...]:
    """Read only which relays cannot be used; `outbox` is what waits, which was just read."""
    async with database.connection() as connection:
        return await _relays(connection, outbox)


async def _relays(connection: Connection, outbox: Queue) -> tuple[FaultyRelay, ...]:
    rows = await connection.fetch(
        "SELECT profile, fault, fault_since, next_try_at, state FROM router.relay ORDER BY profile"
    )
    return tuple(
        FaultyRelay(
            **row,
            waiting=outbox.due(row["profile"]),
            more=any(one.more for one in outbox.waiting if one.profile == row["profile"]),
        )
        for row in rows
    )


async def read_unknown(database: Database) -> Unknown:
    """Read only which emails are unknown."""
    async with database.connection() as connection:
        return await _unknown(connection)


async def _unknown(connection: Connection) -> Unknown:
    row = await connection.fetchrow(
        """
        SELECT count(*), min(since) AS since,
            array(SELECT email_id FROM router.unsent WHERE status = 'unknown' ORDER BY since LIMIT $1) AS email_ids
        FROM router.unsent WHERE status = 'unknown'
        """,
        _SOME,
    )
    assert row is not None
    return Unknown(row["count"], row["since"], tuple(row["email_ids"]))


async def _failed(connection: Connection) -> tuple[Failed, ...]:
    rows = await connection.fetch(
        """
        SELECT f.code, count(*), (array_agg(f.email_id ORDER BY f.since DESC))[:$1] AS email_ids,
            count(*) FILTER (WHERE f.given_up) AS given_up
        FROM (
            SELECT u.email_id, u.since, EXISTS (
                SELECT FROM crm.delivery AS d WHERE d.email_id = u.email_id AND d.state = 'given_up'
            ) AS given_up, coalesce((
                SELECT CASE WHEN d.code ~ '^[245]\\.[0-9]+\\.' THEN substring(d.code FROM '^[245]\\.[0-9]+')
                    ELSE left(d.code, 1) END
                FROM crm.delivery AS d
                -- A refusal tells more than what was only deferred until it was given up.
                WHERE d.email_id = u.email_id AND d.state <> 'accepted' ORDER BY d.code DESC LIMIT 1
            ), '') AS code
            FROM (
                SELECT u.email_id, u.since FROM router.unsent AS u
                WHERE u.status = 'failed' AND u.since > now() - interval '1 day' ORDER BY u.since DESC LIMIT $2
            ) AS u
        ) AS f
        GROUP BY f.code ORDER BY count(*) DESC, f.code
        """,
        _SOME,
        MOST,
    )
    return tuple(Failed(row["code"], row["count"], tuple(row["email_ids"]), row["given_up"]) for row in rows)
