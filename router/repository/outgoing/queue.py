"""What waits in the outbox, and for what: looked at every few seconds, so never by a scan.

Each part is counted up to MOST, through an index; one step more is taken for each owner of whom something waits.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from router.repository.database import Connection, Database

MOST: Final = 10_000
"""The most emails of one kind that are counted."""

Cause = Literal["turn", "admin", "approval", "profile", "relay", "login", "send_after", "retry"]
"""As `crm.email_progress.waits_for`, but for two things: `login` is a relay that refuses it; and where sending is
stopped, `admin` is the cause of those alone that would be due otherwise."""
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many emails of a profile (None: none carries them) and a lane wait for one cause; `more`: at least so many.

    `due` of them are of approved owners, and their time has come.
    """

    profile: str | None
    lane: str
    cause: Cause
    count: int
    due: int
    more: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits `at` a moment, how many emails are being sent, and since when the first is due that is not."""

    waiting: tuple[Waiting, ...]
    sending: int
    oldest_due: datetime | None
    at: datetime

    @property
    def oldest(self) -> float:
        """For how many seconds the first has been due; 0 where there is none."""
        return (self.at - self.oldest_due).total_seconds() if self.oldest_due else 0.0

    def count(self, *causes: Cause, profile: str | None = None) -> int:
        """How many wait for one of these causes, of one profile or of all; at least so many, where there are `more`."""
        return sum(
            one.count for one in self.waiting if one.cause in causes and (profile is None or one.profile == profile)
        )

    def more(self, causes: Collection[Cause] = CAUSES) -> bool:
        """Whether not all of these were counted."""
        return any(one.more for one in self.waiting if one.cause in causes)

    def due(self, profile: str | None = None) -> int:
        """How many are due of this profile, or of any; without those that no profile carries."""
        return sum(one.due for one in self.waiting if one.cause != "profile" and profile in (None, one.profile))


_LATE: Final = "greatest(q.next_at, '2000-01-01')"  # Python has no year -infinity
_READY: Final = "q.process_id IS NULL AND q.ready AND q.profile IS NOT NULL"
_LATER: Final = "q.process_id IS NULL AND NOT q.ready AND q.profile IS NOT NULL"
_NOBODYS: Final = "q.process_id IS NULL AND coalesce(q.profile, '') = ''"

# $1 MOST
_WAITING: Final = f"""
    WITH RECURSIVE lanes AS (
        (SELECT q.profile, q.lane FROM router.outbox AS q WHERE {_READY} ORDER BY q.profile, q.lane LIMIT 1)
        UNION ALL
        SELECT n.profile, n.lane FROM lanes AS l CROSS JOIN LATERAL (
            SELECT q.profile, q.lane FROM router.outbox AS q
            WHERE {_READY} AND (q.profile, q.lane) > (l.profile, l.lane) ORDER BY q.profile, q.lane LIMIT 1
        ) AS n
    ), owners AS (
        -- What nobody carries comes first of each owner.
        (SELECT q.owner_id, coalesce(q.profile, '') AS profile FROM router.outbox AS q
         WHERE q.process_id IS NULL ORDER BY q.owner_id, coalesce(q.profile, '') LIMIT 1)
        UNION ALL
        SELECT n.owner_id, n.profile FROM owners AS w CROSS JOIN LATERAL (
            SELECT q.owner_id, coalesce(q.profile, '') AS profile FROM router.outbox AS q
            WHERE q.process_id IS NULL AND q.owner_id > w.owner_id
            ORDER BY q.owner_id, coalesce(q.profile, '') LIMIT 1
        ) AS n
    ), nobodys AS MATERIALIZED (
        SELECT w.owner_id, CASE
            WHEN NOT coalesce(o.approved AND o.mailbox IS NOT NULL, false) THEN 'approval'
            WHEN r.reason IS NOT NULL THEN 'profile'
            ELSE 'turn' END AS cause
        FROM owners AS w
        LEFT JOIN crm.owner AS o ON o.record_id = w.owner_id LEFT JOIN router.route AS r ON r.owner_id = w.owner_id
        WHERE w.profile = ''
    ), found AS (
        SELECT NULL AS profile, q.lane, q.owner_id, q.next_at, c.cause,
            q.place = $1 AS is_last, NULL::timestamptz AS send_after
        FROM (VALUES ('approval'), ('profile'), ('turn')) AS c (cause) CROSS JOIN LATERAL (
            SELECT q.*, row_number() OVER () AS place FROM (
                SELECT q.lane, q.owner_id, q.next_at FROM nobodys AS n CROSS JOIN LATERAL (
                    SELECT q.lane, q.owner_id, q.next_at FROM router.outbox AS q
                    WHERE {_NOBODYS} AND q.owner_id = n.owner_id ORDER BY q.email_id LIMIT $1
                ) AS q
                WHERE n.cause = c.cause LIMIT $1
            ) AS q
        ) AS q
        UNION ALL
        SELECT l.profile, l.lane, q.owner_id, q.next_at, NULL, q.place = $1, NULL
        FROM lanes AS l CROSS JOIN LATERAL (
            SELECT q.*, row_number() OVER () AS place FROM (
                SELECT q.owner_id, q.next_at FROM router.outbox AS q
                WHERE {_READY} AND q.profile = l.profile AND q.lane = l.lane ORDER BY q.owner_id LIMIT $1
            ) AS q
        ) AS q
        UNION ALL
        SELECT q.profile, q.lane, q.owner_id, q.next_at, NULL, q.place = $1,
            (SELECT e.send_after FROM crm.email AS e WHERE e.id = q.email_id)
        FROM (
            SELECT q.*, row_number() OVER () AS place FROM (
                SELECT q.profile, q.lane, q.owner_id, q.email_id, q.next_at FROM router.outbox AS q
                WHERE {_LATER} ORDER BY q.next_at LIMIT $1
            ) AS q
        ) AS q
    ), sending AS MATERIALIZED (
        SELECT router.may_send() AS may  -- once, not for each that waits
    ), judged AS (
        SELECT f.profile, f.lane, f.is_last, greatest(f.next_at, '2000-01-01') AS next_at,
            f.next_at <= now() AND coalesce(o.approved, false) AS is_due, CASE
            WHEN f.cause IN ('approval', 'profile') THEN f.cause
            WHEN NOT coalesce(o.approved AND o.mailbox IS NOT NULL, false) THEN 'approval'
            WHEN f.send_after > now() OR (f.profile IS NULL AND f.next_at > now()) THEN 'send_after'
            WHEN r.state = 'login_refused' THEN 'login'
            WHEN r.profile IS NOT NULL THEN 'relay'
            WHEN f.next_at > now() THEN 'retry'
            ELSE 'turn' END AS cause
        FROM found AS f
        LEFT JOIN crm.owner AS o ON o.record_id = f.owner_id LEFT JOIN router.relay AS r ON r.profile = f.profile
    )
    SELECT j.profile, j.lane, CASE WHEN j.cause = 'turn' AND NOT s.may THEN 'admin' ELSE j.cause END AS cause,
        count(*) AS count, count(*) FILTER (WHERE j.is_due) AS due, bool_or(j.is_last) AS more,
        min(j.next_at) FILTER (WHERE j.is_due AND j.profile IS NULL AND j.cause = 'turn') AS unrouted_since
    FROM judged AS j CROSS JOIN sending AS s
    -- Not in order: with it all rows would be sorted, instead of the few groups.
    GROUP BY 1, 2, 3
"""  # noqa: S608  # constants

_OLDEST: Final = f"""
    SELECT min(h.next_at) AS oldest, now() AS at FROM (
        (SELECT {_LATE} AS next_at FROM (
            SELECT q.owner_id, q.next_at FROM router.outbox AS q WHERE {_READY} ORDER BY q.next_at LIMIT $1
         ) AS q WHERE q.next_at <= now()
            AND (SELECT o.approved FROM crm.owner AS o WHERE o.record_id = q.owner_id) ORDER BY q.next_at LIMIT 1)
        UNION ALL
        (SELECT {_LATE} FROM (
            SELECT q.owner_id, q.next_at FROM router.outbox AS q
            WHERE {_LATER} AND q.next_at <= now() ORDER BY q.next_at LIMIT $1
         ) AS q WHERE (SELECT o.approved FROM crm.owner AS o WHERE o.record_id = q.owner_id)
            ORDER BY q.next_at LIMIT 1)
    ) AS h
"""  # noqa: S608  # constants


async def read_queue(database: Database) -> Queue:
    """Look at what waits."""
    async with database.connection() as connection:
        return await queue_of(connection)


async def queue_of(connection: Connection) -> Queue:
    """The same, over a connection that is at hand."""
    rows = await connection.fetch(_WAITING, MOST)
    rows.sort(key=lambda row: (row["profile"] is None, row["profile"] or "", row["lane"], row["cause"]))
    sending = await connection.fetchval("SELECT count(*) FROM router.outbox WHERE process_id IS NOT NULL")
    oldest = await connection.fetchrow(_OLDEST, MOST)
    assert oldest is not None
    # What no process has found a profile for yet.
    since = [row["unrouted_since"] for row in rows] + [oldest["oldest"]]
    return Queue(
        tuple(Waiting(*tuple(row)[:-1]) for row in rows),
        sending,
        min((one for one in since if one is not None), default=None),
        oldest["at"],
    )
