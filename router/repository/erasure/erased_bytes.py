"""Erasing a person: bytes in which an address is named, which only unpacked tell so.

Contents of attachments go with the attachments that have them, kept bytes of dead and held mail alone, and an email
that was taken back as a whole. What is looked into is read outside of any transaction.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from router.errors import ContentRefused
from router.model.outgoing import Stored
from router.repository.database import Database
from router.repository.erasure.erase import forget_hashes_of
from router.repository.erasure.named import Named
from router.repository.erasure.taken_back import lock_email
from router.repository.incoming.attachments import read_content

_PIECE: Final = 100
_BEGINNING: Final = 16  # bytes by which a kind of file is known
_BLOCK: Final = 1 << 20  # bytes, unpacked, that are searched at once


async def find_sealed(database: Database, named: Named) -> AsyncIterator[UUID]:
    """Yield emails that were taken back and name the address."""
    after = UUID(int=0)
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(
                """
                WITH piece AS MATERIALIZED (
                    SELECT email_id FROM router.sealed WHERE email_id > $3 ORDER BY email_id LIMIT $4
                )
                SELECT p.email_id, EXISTS (
                    SELECT FROM router.sealed_rows AS r
                    WHERE r.email_id = p.email_id AND strpos(lower(r.rows::text), $1) > 0 AND r.rows::text ~* $2
                ) AS names_it, ARRAY(
                    SELECT r.rows::text FROM router.sealed_rows AS r
                    WHERE r.email_id = p.email_id AND strpos(r.rows::text, '=?') > 0
                ) AS encoded
                FROM piece AS p ORDER BY p.email_id
                """,
                named.part,
                named.pattern,
                after,
                _PIECE,
            )
        for row in rows:
            named_in = row["names_it"] or any(map(named.in_text, row["encoded"]))
            if named_in or await _sealed_content_names_it(database, row["email_id"], named):
                yield row["email_id"]
        if len(rows) < _PIECE:
            return
        after = rows[-1]["email_id"]


async def _sealed_content_names_it(database: Database, email_id: UUID, named: Named) -> bool:
    after = b""
    while True:
        async with database.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT sha256, encoding, content FROM router.sealed_content
                WHERE email_id = $1 AND sha256 > $2 ORDER BY sha256 LIMIT 1
                """,
                email_id,
                after,
            )
        if row is None:
            return False
        after = row["sha256"]
        if await asyncio.to_thread(_packed_names_it, row["encoding"], row["content"], named):
            return True


def _packed_names_it(encoding: str, content: bytes, named: Named) -> bool:
    if encoding == "identity":
        return named.in_bytes(content)
    unpacking, tail = zlib.decompressobj(), b""
    try:
        while content and not unpacking.eof:
            tail = tail[-named.longest :] + unpacking.decompress(content, _BLOCK)
            if named.in_bytes(tail):
                return True
            content = unpacking.unconsumed_tail
    except zlib.error:
        return named.in_bytes(content)
    return False


async def delete_sealed(database: Database, email_id: UUID, *, forget_hashes: bool) -> None:
    """Delete an email that was taken back: it cannot be restored any more."""
    async with database.transaction() as connection:
        hashes = await lock_email(connection, email_id)
        await connection.execute("DELETE FROM router.sealed WHERE email_id = $1", email_id)
        await connection.execute("UPDATE router.taken_back SET receipt = NULL WHERE email_id = $1", email_id)
        await connection.execute("UPDATE router.decision SET forward = NULL WHERE email_id = $1", email_id)
        if forget_hashes:
            await forget_hashes_of(connection, email_id, hashes)


async def find_kept(database: Database, named: Named) -> AsyncIterator[int]:
    """Yield the decisions whose kept bytes, or recipients, name the address."""
    after = 0
    while True:
        async with database.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT decision_id, content, recipients FROM router.kept_content
                WHERE decision_id > $1 ORDER BY decision_id LIMIT 1
                """,
                after,
            )
        if row is None:
            return
        after = row["decision_id"]
        if any(map(named.in_text, row["recipients"])) or await asyncio.to_thread(_kept_names_it, row["content"], named):
            yield after


def _kept_names_it(content: bytes, named: Named) -> bool:
    return named.in_bytes(zlib.decompress(content))


async def delete_kept(database: Database, decision_id: int) -> None:
    """Delete the kept bytes of a dead or held copy; what lies in its mailbox still can be fetched again."""
    async with database.transaction() as connection:
        await connection.execute("DELETE FROM router.kept_content WHERE decision_id = $1", decision_id)


@dataclass(frozen=True, slots=True)
class Content:
    """A content of attachments."""

    sha256: bytes
    encoding: str
    packed: int


async def list_contents(database: Database, since: datetime | None = None) -> AsyncIterator[Content]:
    """Yield the contents of attachments, or those stored since a moment."""
    after = b""
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT sha256, encoding, octet_length(content) AS packed, created_at FROM crm.blob
                WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
                """,
                after,
                _PIECE,
            )
        for row in rows:
            if since is None or row["created_at"] >= since:
                yield Content(row["sha256"], row["encoding"], row["packed"])
        if len(rows) < _PIECE:
            return
        after = rows[-1]["sha256"]


class Looked(NamedTuple):
    """Whether a content names the address, and how it begins, which tells whether that could be seen."""

    names_it: bool
    beginning: bytes


async def look_into(database: Database, content: Content, named: Named) -> Looked:
    """Look whether a content names the address, unpacked where it can be, read block by block."""
    try:
        return await _look_into(database, content, named)
    except ContentRefused:  # it is not what its encoding says, or gone by now
        if content.encoding == "identity":
            return Looked(False, b"")
        return await _look_into(database, Content(content.sha256, "identity", content.packed), named)


async def _look_into(database: Database, content: Content, named: Named) -> Looked:
    stored = Stored("", "", content.sha256, content.encoding, -1, content.packed)
    beginning = tail = b""
    async for block in read_content(database, stored):
        beginning = beginning or block[:_BEGINNING]
        tail += block
        if await asyncio.to_thread(named.in_bytes, tail):
            return Looked(True, beginning)
        tail = tail[-named.longest :]
    return Looked(False, beginning)


async def delete_content(database: Database, content: Content) -> bool:
    """Delete a content with the attachments that have it; False where one of them is to be sent."""
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM crm.blob WHERE sha256 = $1 FOR UPDATE", content.sha256)
        deleted: bool = await connection.fetchval(
            """
            WITH free AS MATERIALIZED (
                SELECT NOT EXISTS (
                    SELECT FROM crm.attachment AS a JOIN crm.email AS e ON e.id = a.email_id
                    WHERE a.sha256 = $1 AND e.status IN ('pending_send', 'sending')
                ) AS is_free
            ), gone AS (
                DELETE FROM crm.attachment WHERE sha256 = $1 AND (SELECT is_free FROM free)
            )
            SELECT is_free FROM free
            """,
            content.sha256,
        )
        if deleted:
            await connection.execute("DELETE FROM crm.blob WHERE sha256 = $1", content.sha256)
    return deleted
