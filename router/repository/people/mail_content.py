"""What a person may see of an email's content: its HTML, its attachments, whether it is private.

Each query takes the person ($1, an id of router.person), and finds nothing that the grants of the person do not cover.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.model.outgoing import Stored
from router.repository.database import Database

_MOST_INLINE: Final = 500  # pictures of one email

_PICTURES: Final = [f"image/{one}" for one in ("png", "x-png", "jpeg", "jpg", "pjpeg", "gif", "webp")]

_SEEN: Final = """(
    router.may_see($1, NULL) OR e.owner_id IN (SELECT router.seen_owners($1))
    OR EXISTS (
        SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id IN (SELECT router.seen_owners($1))
    )
)"""


@dataclass(frozen=True, slots=True)
class Html:
    """The HTML of an email, as much as was asked for, and at which position the picture of which Content-ID is."""

    subject: str
    private: bool
    html: str | None
    parts: dict[str, int]


async def read_html(database: Database, person_id: int, email_id: UUID, most: int) -> Html | None:
    """Read the HTML as it came; None: there is no email that may be seen. A private one has no words here."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            SELECT e.private, CASE WHEN NOT e.private THEN e.subject END AS subject,
                CASE WHEN NOT e.private THEN left(e.html_body, $3) END AS html
            FROM crm.email AS e WHERE e.id = $2 AND {_SEEN}
            """,  # noqa: S608  # a constant
            person_id,
            email_id,
            most,
        )
        if row is None:
            return None
        parts = await connection.fetch(
            """
            SELECT a.content_id, a.position FROM crm.attachment AS a
            WHERE a.email_id = $1 AND a.content_id IS NOT NULL AND a.media_type = ANY($3)
            ORDER BY a.position DESC LIMIT $2
            """,
            email_id,
            _MOST_INLINE,
            _PICTURES,
        )
    return Html(
        row["subject"] or "", row["private"], row["html"], {part["content_id"]: part["position"] for part in parts}
    )


async def find_attachment(database: Database, person_id: int, email_id: UUID, position: int) -> Stored | None:
    """Find an attachment; None: there is none that may be seen. `size` is -1 where that is not known."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            SELECT a.filename, a.media_type, a.size, e.direction, a.sha256, b.encoding,
                octet_length(b.content) AS packed, a.content_id, a.inline
            FROM crm.email AS e JOIN crm.attachment AS a ON a.email_id = e.id JOIN crm.blob AS b USING (sha256)
            WHERE e.id = $2 AND a.position = $3 AND NOT e.private AND {_SEEN}
            """,  # noqa: S608  # a constant
            person_id,
            email_id,
            position,
        )
    if row is None:
        return None
    # The CRM writes sizes too, and may be wrong; those of what was received are our own.
    packed = row["packed"]
    size = packed if row["encoding"] == "identity" else row["size"] if row["direction"] == "in" else -1
    return Stored(
        row["filename"], row["media_type"], row["sha256"], row["encoding"], size, packed, row["content_id"],
        row["inline"],
    )  # fmt: skip


async def is_private(database: Database, person_id: int, email_id: UUID) -> bool | None:
    """Whether an email is private; None: there is none that may be seen."""
    async with database.connection() as connection:
        private: bool | None = await connection.fetchval(
            f"SELECT e.private FROM crm.email AS e WHERE e.id = $2 AND {_SEEN}",  # noqa: S608  # a constant
            person_id,
            email_id,
        )
    return private
