"""Erasing a person: headers of others' emails that name the address in encoded words, which SQL cannot read."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from router.repository.database import Database
from router.repository.erasure.mentions import Pages
from router.repository.erasure.named import Named

TABLE: Final = "crm.email"


async def find_encoded(database: Database, pages: Pages, named: Named) -> AsyncIterator[UUID]:
    """Yield the emails of a piece of crm.email that have such a header."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT id, raw_headers::text AS headers FROM crm.email
            WHERE ctid >= $1::text::tid AND ctid < $2::text::tid AND strpos(raw_headers::text, '=?') > 0
            """,
            *(f"({page},0)" for page in pages),
        )
    for row in rows:
        if any(_names_it(header, named) for header in json.loads(row["headers"])):
            yield row["id"]


async def take_out_encoded(database: Database, email_id: UUID, named: Named) -> bool:
    """Take these headers from an email, whole, since they have the name beside the address; raises DatabaseAway."""
    async with database.transaction() as connection:
        written: str | None = await connection.fetchval(
            "SELECT raw_headers::text FROM crm.email WHERE id = $1 FOR UPDATE", email_id
        )
        headers = json.loads(written or "[]")
        kept = [header for header in headers if not _names_it(header, named)]
        if len(kept) < len(headers):
            await connection.execute(
                "UPDATE crm.email SET raw_headers = $2::text::jsonb WHERE id = $1", email_id, json.dumps(kept)
            )
    return len(kept) < len(headers)


def _names_it(header: Sequence[str], named: Named) -> bool:
    return any(map(named.in_text, header))
