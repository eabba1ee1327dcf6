"""Letters: copies that are dead or held, and wait for a person. What became of a copy is one row, by its id."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from router.model import Candidate, Disposition, Rule
from router.repository.database import Database
from router.repository.jsonb import read_candidates
from transports.base import Cursor, Place

MOST_LISTED: Final = 10_000
"""Letters that are listed at once, at most."""


@dataclass(frozen=True, slots=True)
class LetterSource:
    """Where a letter came from: `mailbox` and `folder` are empty for a listener, `mailbox` for a forward mailbox.

    `cursor` and all places are of that `account`. `is_read` is False for a source that was given up.
    """

    id: int
    profile: str
    mailbox: str
    folder: str
    account: str
    cursor: Cursor | None
    is_read: bool

    @property
    def listens(self) -> bool:
        """Whether its mail was handed to the router, and lies on no server."""
        return not self.folder


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead or held copy. `owner` is the mailbox of whose owner it is, by now; None: it is nobody's.

    `kept_until` says until when its bytes are kept, None where they are not; `size` is theirs as they are kept.
    `outer_place` is that of the mail that brought it, where that is another: in a forward mailbox. `candidates` are the
    emails that it may answer.
    """

    id: int
    source: LetterSource
    place: Place
    outer_place: str | None
    owner_id: UUID | None
    owner: str | None
    disposition: Disposition
    rule: Rule
    reasons: tuple[str, ...]
    received_at: datetime
    decided_at: datetime
    forward: str | None
    size: int
    kept_until: datetime | None
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """The bytes of a letter, and what else reading it again needs."""

    content: bytes
    recipients: tuple[str, ...]
    sent: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those of a profile, of an owner's mailbox, and decided on `before`; or all."""

    profile: str | None = None
    owner: str | None = None
    before: datetime | None = None


# Twice the disposition: the index is of these two only.
_WAITING: Final = """
    d.disposition = $1 AND d.disposition IN ('held', 'dead') AND d.id > $2
    AND ($3::text IS NULL OR s.profile = $3) AND ($4::text IS NULL OR o.mailbox = $4)
    AND ($5::timestamptz IS NULL OR d.decided_at < $5)
"""

_LISTED: Final = """
    SELECT d.id, d.source_id, s.profile, s.mailbox, s.folder, s.account, s.cursor, s.identity IS NOT NULL AS is_read,
        d.validity, d.place, d.outer_place, d.owner_id, o.mailbox AS owner, d.disposition, d.rule, d.reasons,
        d.received_at, d.decided_at, d.forward::text AS forward, coalesce(octet_length(k.content), 0) AS size,
        k.expires_at, d.candidates::text AS candidates
    FROM router.decision AS d
    JOIN router.source AS s ON s.id = d.source_id
    LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
    LEFT JOIN router.kept_content AS k ON k.decision_id = d.id AND k.expires_at > now()
"""


async def list_letters(
    database: Database,
    waiting: Disposition,
    which: Selection = Selection(),
    *,
    after: int = 0,
    limit: int = MOST_LISTED,
) -> list[Letter]:
    """List letters in the order of their ids, from the one after `after`."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            {_LISTED} WHERE {_WAITING} ORDER BY d.id LIMIT $6
            """,
            waiting,
            after,
            which.profile,
            which.owner,
            which.before,
            limit,
        )
    return [_letter(row) for row in rows]


async def count_letters(database: Database, waiting: Disposition, which: Selection) -> int:
    """Count letters, for who waits until all of them are done."""
    async with database.connection() as connection:
        number: int = await connection.fetchval(
            f"""
            SELECT count(*)
            FROM router.decision AS d
            JOIN router.source AS s ON s.id = d.source_id
            LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id
            WHERE {_WAITING}
            """,  # noqa: S608  # a constant
            waiting,
            0,
            which.profile,
            which.owner,
            which.before,
        )
    return number


async def find_letters(database: Database, ids: Collection[int]) -> dict[int, Letter]:
    """Find copies by their ids, whatever became of them."""
    async with database.connection() as connection:
        rows = await connection.fetch(f"{_LISTED} WHERE d.id = ANY($1::bigint[])", list(ids))
    return {row["id"]: _letter(row) for row in rows}


async def find_kept(database: Database, ids: Collection[int]) -> Collection[int]:
    """Tell of which of these letters the bytes are kept."""
    if not ids:
        return ()
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT decision_id FROM router.kept_content WHERE decision_id = ANY($1::bigint[]) AND expires_at > now()",
            list(ids),
        )
    return {row["decision_id"] for row in rows}


async def read_kept(database: Database, ids: Collection[int]) -> Mapping[int, Kept]:
    """Read the bytes of letters, by their ids; those whose bytes are not kept, or no longer, are left out."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT decision_id, content, recipients, sent FROM router.kept_content
            WHERE decision_id = ANY($1::bigint[]) AND expires_at > now()
            """,
            list(ids),
        )
    return {
        row["decision_id"]: Kept(zlib.decompress(row["content"]), tuple(row["recipients"]), row["sent"]) for row in rows
    }


async def drop(database: Database, ids: Collection[int], reason: str, settles: Collection[int]) -> list[int]:
    """Make letters ignored, and delete their bytes; return the ids of those that were letters still.

    `settles`: the ids of sources whose mail server is still to be told of ignored mail.
    """
    async with database.transaction() as connection:
        rows = await connection.fetch(
            """
            WITH letters AS (
                SELECT id, source_id, disposition FROM router.decision
                WHERE id = ANY($1::bigint[]) AND disposition IN ('held', 'dead') ORDER BY id FOR UPDATE
            ), dropped AS (
                UPDATE router.decision AS d
                SET disposition = 'ignored', reasons = d.reasons || $2::text, decided_at = now(), forward = NULL,
                    -- One mail in a forward mailbox can hold several: it goes when none of them is left.
                    settled_at = CASE WHEN d.source_id <> ALL($3::bigint[]) OR EXISTS (
                        SELECT FROM router.decision AS other
                        WHERE other.source_id = d.source_id AND other.outer_place = d.outer_place
                            AND other.validity = d.validity AND other.disposition IN ('held', 'dead')
                            AND other.outer_place IS NOT NULL AND other.id <> ALL($1::bigint[])
                    ) THEN coalesce(d.settled_at, now()) END
                FROM letters WHERE d.id = letters.id
                RETURNING d.id
            ), gone AS (
                DELETE FROM router.kept_content WHERE decision_id IN (SELECT id FROM letters)
            ), counts AS (
                INSERT INTO router.source_count AS c (source_id, ignored, held, dead)
                SELECT source_id, count(*), -count(*) FILTER (WHERE disposition = 'held'),
                    -count(*) FILTER (WHERE disposition = 'dead')
                -- Sorted, as everywhere, so that nobody deadlocks.
                FROM letters GROUP BY source_id ORDER BY source_id
                ON CONFLICT (source_id) DO UPDATE SET
                    ignored = c.ignored + excluded.ignored, held = c.held + excluded.held, dead = c.dead + excluded.dead
            )
            SELECT id FROM dropped
            """,
            list(ids),
            reason,
            list(settles),
        )
    return [row["id"] for row in rows]


def _letter(row: Record) -> Letter:
    source = LetterSource(
        row["source_id"],
        row["profile"],
        row["mailbox"],
        row["folder"],
        row["account"],
        Cursor(row["cursor"]) if row["cursor"] else None,
        row["is_read"],
    )
    return Letter(
        row["id"],
        source,
        Place(row["validity"], row["place"]),
        row["outer_place"],
        row["owner_id"],
        row["owner"],
        Disposition(row["disposition"]),
        Rule(row["rule"]),
        tuple(row["reasons"]),
        row["received_at"],
        row["decided_at"],
        row["forward"],
        row["size"],
        row["expires_at"],
        read_candidates(row["candidates"]),
    )
