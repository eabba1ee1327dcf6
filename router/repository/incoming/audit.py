"""What is known of the messages that lie on a mail server, and what the last audits found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from router.model import Copy, Disposition
from router.model.tally import Tally
from router.repository.database import Database, storable
from router.repository.incoming.decided_before import SAYS_THE_SAME
from transports.base import Cursor, Place

RESUMED_WITHIN: Final = timedelta(hours=6)
"""For how long an audit that was interrupted can go on where it stopped."""

LATE: Final = 2
"""An audit is overdue once the last that ended is older than this many times what the setting says."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An audit of one folder that has not ended: since when, up to which place, and what it came to so far."""

    begun_at: datetime
    last: Place
    tally: Tally


@dataclass(frozen=True, slots=True)
class AuditedSource:
    """One folder of a mailbox, and how far it was read: `cursor` and all places are of that `account`.

    `begun` is False as long as a source that begins at the present was never read. `begins_at` None: it began with all.
    """

    id: int
    account: str
    cursor: Cursor | None
    begun: bool
    begins_at: datetime | None
    fault: str | None
    under_way: UnderWay | None


async def read_sources(database: Database, identity: str) -> dict[str, AuditedSource]:
    """Read the sources of a mailbox, by folder."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT s.id, s.folder, s.account, s.cursor, s.begins_at < 'infinity' AS begun, s.fault,
                CASE WHEN isfinite(s.begins_at) THEN s.begins_at END AS begins_at,
                a.begun_at, a.validity, a.place, a.tally::text AS tally
            FROM router.source AS s
            LEFT JOIN router.audit AS a ON a.source_id = s.id AND a.begun_at > now() - $2::interval
            WHERE s.identity = $1
            """,
            identity,
            RESUMED_WITHIN,
        )
    return {
        row["folder"]: AuditedSource(
            row["id"],
            row["account"],
            Cursor(row["cursor"]) if row["cursor"] else None,
            row["begun"],
            row["begins_at"],
            row["fault"],
            UnderWay(row["begun_at"], Place(row["validity"], row["place"]), Tally.of(json.loads(row["tally"])))
            if row["begun_at"]
            else None,
        )
        for row in rows
    }


async def decided(
    database: Database, source_id: int, places: Sequence[Place], *, forwards: bool
) -> dict[Place, Disposition]:
    """Tell which of these places have a disposition, and which.

    Of a mail in a forward mailbox (`forwards`) that brought several copies, it is that of the first.
    """
    asked = [(place, place.id) for place in places]
    if forwards:
        asked += [(place, f"{place.id}:1") for place in places]
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT w.number, d.disposition
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w (validity, place, number)
            JOIN router.decision AS d ON d.source_id = $1 AND d.validity = w.validity AND d.place = w.place
            """,
            source_id,
            [place.validity for place, _ in asked],
            [id_ for _, id_ in asked],
        )
    return {asked[row["number"] - 1][0]: Disposition(row["disposition"]) for row in rows}


async def erased(database: Database, source_id: int, places: Sequence[Place]) -> set[Place]:
    """Tell at which of these places lies an email that the CRM had, and has no longer."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT w.number
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w (validity, place, number)
            JOIN router.decision AS d ON d.source_id = $1 AND d.validity = w.validity AND d.place = w.place
            WHERE d.email_id IS NOT NULL AND NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = d.email_id)
            """,
            source_id,
            [place.validity for place in places],
            [place.id for place in places],
        )
    return {places[row["number"] - 1] for row in rows}


async def known(database: Database, owner_id: UUID, copies: Sequence[Copy]) -> dict[Place, Disposition]:
    """Tell which of these judged copies have a disposition at any other place of an owner's, and which.

    It was given to a message with the same key that says the same, as far as is known what either says: nothing is of
    a copy whose headers alone were read.
    """
    # The sender's own copy of internal mail may be an email by itself (`Facts.keyed`).
    asked = [(copy, key) for copy in copies for key in (copy.key, copy.sent_key) if key]
    likenesses = [None if copy.headers_only else copy.likeness for copy, _ in asked]
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            SELECT w.number, d.disposition
            FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])
                WITH ORDINALITY AS w (key, content, gist, sender_gist, number)
            CROSS JOIN LATERAL (
                SELECT d.disposition FROM router.decision AS d
                WHERE d.key = w.key AND d.owner_id = $1 AND d.disposition IN ('ignored', 'held') AND {SAYS_THE_SAME}
                UNION ALL
                SELECT d.disposition FROM router.message AS m JOIN router.decision AS d ON d.email_id = m.email_id
                WHERE m.key = w.key AND d.owner_id = $1
                    -- Of a forged one and the true one, one became the email, and the other has what it said itself.
                    AND (m.content <> w.content AND m.gist <> w.gist AND d.content <> w.content) IS NOT TRUE
                LIMIT 1
            ) AS d
            """,  # noqa: S608  # a constant
            owner_id,
            [key for _, key in asked],
            [one and one.content for one in likenesses],
            [one and one.gist for one in likenesses],
            [copy.sender_gist for copy, _ in asked],
        )
    return {asked[row["number"] - 1][0].place: Disposition(row["disposition"]) for row in rows}


async def note_under_way(database: Database, source_id: int, under_way: UnderWay) -> None:
    """Note how far an audit has come, for the next if this one is interrupted."""
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.audit (source_id, begun_at, validity, place, tally) VALUES ($1, $2, $3, $4, $5::jsonb)
            ON CONFLICT (source_id) DO UPDATE SET begun_at = excluded.begun_at, validity = excluded.validity,
                place = excluded.place, tally = excluded.tally
            """,
            source_id,
            under_way.begun_at,
            under_way.last.validity,
            under_way.last.id,
            json.dumps(under_way.tally.as_dict()),
        )


async def note_ended(database: Database, source_id: int, tally: Tally) -> None:
    """Note what an audit found."""
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.audit AS a (source_id, audited_at, messages, waiting, missing, missing_since)
            VALUES ($1, now(), $2, $3, $4, CASE WHEN $4::bigint > 0 THEN now() END)
            ON CONFLICT (source_id) DO UPDATE SET audited_at = excluded.audited_at, messages = excluded.messages,
                waiting = excluded.waiting, missing = excluded.missing, fault = NULL,
                missing_since = CASE WHEN excluded.missing > 0 THEN coalesce(a.missing_since, now()) END,
                begun_at = NULL, validity = NULL, place = NULL, tally = NULL
            """,
            source_id,
            tally.messages,
            tally.waiting,
            tally.missing,
        )


async def note_fault(database: Database, source_id: int, fault: str) -> None:
    """Note why a source could not be audited. What the last audit found stays."""
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.audit (source_id, fault) VALUES ($1, $2)
            ON CONFLICT (source_id) DO UPDATE SET fault = excluded.fault
            """,
            source_id,
            storable(fault),
        )


async def take_due(
    database: Database, process_id: UUID, source_ids: Sequence[int], every: timedelta, again: timedelta
) -> int | None:
    """Take the mailbox whose audit is due for longest, of these first folders that a process holds; None: none is.

    It is due `every` so long, or `again` after an audit that failed in any folder. One that is at fault is not asked.
    """
    async with database.connection() as connection:
        taken: int | None = await connection.fetchval(
            """
            INSERT INTO router.audit (source_id, tried_at)
            SELECT s.id, now()
            FROM router.source AS s LEFT JOIN router.audit AS a ON a.source_id = s.id
            CROSS JOIN LATERAL (
                -- Of any folder: one that could not be audited to its end is not to wait for the whole time.
                SELECT EXISTS (
                    SELECT FROM router.source AS f JOIN router.audit AS fa ON fa.source_id = f.id
                    WHERE f.identity = s.identity AND f.process_id = $1 AND fa.fault IS NOT NULL
                ) AS failed
            ) AS mailbox
            WHERE s.id = ANY($2::bigint[]) AND s.process_id = $1 AND s.fault IS NULL AND s.begins_at < 'infinity'
                AND coalesce(a.tried_at, '-infinity')
                    < now() - CASE WHEN mailbox.failed THEN least($3::interval, $4::interval) ELSE $3 END
            ORDER BY a.tried_at NULLS FIRST, s.id LIMIT 1
            ON CONFLICT (source_id) DO UPDATE SET tried_at = excluded.tried_at
            RETURNING source_id
            """,
            process_id,
            list(source_ids),
            every,
            again,
        )
    return taken


async def missing_of(database: Database, process_id: UUID) -> Mapping[str, int]:
    """Tell how many messages were missing at the last audits of what a process reads, by profile."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT s.profile, sum(a.missing)::bigint AS missing
            FROM router.source AS s JOIN router.audit AS a ON a.source_id = s.id
            WHERE s.process_id = $1 AND a.missing IS NOT NULL GROUP BY s.profile
            """,
            process_id,
        )
    return {row["profile"]: row["missing"] for row in rows}


async def overdue_of(database: Database, process_id: UUID, late: timedelta) -> Mapping[str, int]:
    """Tell how many mailboxes that a process reads were not audited to the end for so long, by profile."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT s.profile, count(DISTINCT s.identity) AS mailboxes
            FROM router.source AS s JOIN router.process AS p ON p.id = s.process_id
            LEFT JOIN router.audit AS a ON a.source_id = s.id
            WHERE s.process_id = $1 AND s.begins_at < 'infinity'
                AND coalesce(a.audited_at, p.started_at) < now() - $2::interval
            GROUP BY s.profile
            """,
            process_id,
            late,
        )
    return {row["profile"]: row["mailboxes"] for row in rows}
