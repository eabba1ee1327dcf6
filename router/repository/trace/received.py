"""Where the copies of a received email lay, or its bytes are kept; and by what the message is known to be the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from router.model import Likeness
from router.repository.database import Database
from router.repository.incoming.letters import Kept, LetterSource, read_kept
from transports.base import Cursor, Place

_COPIES: Final = 100  # of one email; a list's mail can have thousands


@dataclass(frozen=True, slots=True)
class CopyOf:
    """One copy: `mailbox` is its owner's by now, None where that is nobody's.

    `place` is that of the mail on its server; in a forward mailbox, of the mail that brought it.
    """

    source: LetterSource
    mailbox: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class ReceivedEmail:
    """A received email: its keys, and what the message of each says, as far as that is known.

    `kept` are bytes of copies of the same key that are held or dead, which may say something else.
    """

    id: UUID
    direction: Literal["in", "out"]
    message_id: str | None
    known: Mapping[bytes, Likeness]
    copies: tuple[CopyOf, ...]
    kept: tuple[Kept, ...]


async def find_received(database: Database, email_id: UUID) -> ReceivedEmail | None:
    """Find an email with all of its copies, those on servers first; None where the CRM has none, or not any more."""
    async with database.connection() as connection:
        email = await connection.fetchrow("SELECT direction, message_id FROM crm.email WHERE id = $1", email_id)
        if email is None:
            return None
        keys = await connection.fetch(
            "SELECT key, coalesce(content, '') AS content, coalesce(gist, '') AS gist FROM router.message "
            "WHERE email_id = $1",
            email_id,
        )
        rows = await connection.fetch(
            """
            SELECT s.id, s.profile, s.mailbox, s.folder, s.account, s.cursor, s.identity IS NOT NULL AS is_read,
                o.mailbox AS owner, c.validity, c.place
            FROM (
                SELECT d.source_id, d.owner_id, d.validity, coalesce(d.outer_place, d.place) AS place, d.received_at
                FROM router.decision AS d WHERE d.email_id = $1
                UNION ALL
                -- Decisions are kept for a time, receipts for as long as the email.
                SELECT s.id, r.owner_id, split_part(r.place, ':', 1), substr(r.place, strpos(r.place, ':') + 1),
                    r.received_at
                FROM crm.receipt AS r
                JOIN crm.owner AS o ON o.record_id = r.owner_id
                JOIN router.source AS s ON s.mailbox = o.mailbox AND s.folder = r.folder
                WHERE r.email_id = $1 AND r.forward IS NULL AND NOT EXISTS (
                    SELECT FROM router.decision AS d WHERE d.email_id = r.email_id AND d.owner_id = r.owner_id
                )
            ) AS c
            JOIN router.source AS s ON s.id = c.source_id
            LEFT JOIN crm.owner AS o ON o.record_id = c.owner_id
            ORDER BY s.folder = '', c.received_at, s.id LIMIT $2
            """,
            email_id,
            _COPIES,
        )
        # Twice the disposition: an index is of these two.
        letters = await connection.fetch(
            "SELECT id FROM router.decision WHERE key = ANY($1::bytea[]) AND disposition IN ('held', 'ignored') "
            "AND disposition = 'held' ORDER BY id LIMIT $2",
            [row["key"] for row in keys],
            _COPIES,
        )
    kept = await read_kept(database, [row["id"] for row in letters])
    return ReceivedEmail(
        email_id,
        email["direction"],
        email["message_id"],
        {row["key"]: Likeness(row["content"], row["gist"]) for row in keys},
        tuple(
            CopyOf(
                LetterSource(
                    row["id"],
                    row["profile"],
                    row["mailbox"],
                    row["folder"],
                    row["account"],
                    Cursor(row["cursor"]) if row["cursor"] else None,
                    row["is_read"],
                ),
                row["owner"],
                Place(row["validity"], row["place"]),
            )
            for row in rows
        ),
        tuple(kept.values()),
    )
