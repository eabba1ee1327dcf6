"""Attachments that are streamed: the same bytes as if all had been read at once, whatever they are."""

import hashlib
import random
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from router.errors import ContentRefused, DatabaseError
from router.model import Attachment, Outgoing
from router.outgoing.compose import compose
from router.outgoing.content import StreamedContent, refuse_size, write_content
from router.repository.database import Database
from router.repository.incoming.attachments import BLOCK, READ_AT_ONCE
from tests.support.crm import Crm
from tests.support.other_parsers import check
from tests.unit.outgoing.test_compose import BASE

LARGE = READ_AT_ONCE + 1
RANDOM = random.Random(11)
NOISE = RANDOM.randbytes(3 * BLOCK + 100)
MESSAGE = b"Subject: inner\r\n\r\n" + b"a line of the message that is attached\r\n" * 10_000


@dataclass
class Stored:
    """An attachment as a CRM developer writes it."""

    content: bytes
    media_type: str = "application/pdf"
    encoding: str = "identity"
    packed: bytes | None = None


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


async def email_with(crm: Crm, *attachments: Stored) -> Outgoing:
    email_id = await crm.draft("sales@example.com", "ann@client.example")
    for position, one in enumerate(attachments):
        packed = one.packed
        if packed is None:
            packed = zlib.compress(one.content, 1) if one.encoding == "zlib" else one.content
        digest = hashlib.sha256(one.content).digest()
        await crm.sql.execute(
            "INSERT INTO crm.blob (sha256, encoding, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            digest,
            one.encoding,
            packed,
        )
        await crm.sql.execute(
            "INSERT INTO crm.attachment (email_id, position, filename, media_type, size, sha256)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            email_id,
            position,
            f"größe {position}",
            one.media_type,
            len(one.content),
            digest,
        )
    return replace(BASE, id=email_id, attached=True)


async def pieces_of(content: StreamedContent) -> list[bytes]:
    return [piece async for piece in content]


@pytest.mark.parametrize(
    "attachments",
    [
        [Stored(NOISE)],
        [Stored(NOISE, encoding="zlib")],
        [Stored(bytes(5 << 20), encoding="zlib")],  # a few kilobytes that are not small once they are unpacked
        [Stored(b"small"), Stored(NOISE), Stored(b""), Stored(bytes(LARGE), encoding="zlib")],
        *([Stored(RANDOM.randbytes(size))] for size in (LARGE, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1)),
        [Stored(MESSAGE, "message/rfc822")],
        [Stored(MESSAGE, "message/rfc822", "zlib")],
        [Stored(MESSAGE + b"\xff", "message/rfc822"), Stored(MESSAGE + b"\r", "MESSAGE/RFC822")],
    ],
)
async def test_o21_what_is_streamed_is_what_would_be_composed_at_once(
    crm: Crm, pool: Database, attachments: Sequence[Stored]
) -> None:
    email = await email_with(crm, *attachments)
    content = await write_content(pool, email)
    assert isinstance(content, StreamedContent)
    pieces = await pieces_of(content)
    whole = b"".join(pieces)
    read = tuple(
        Attachment(f"größe {position}", one.media_type, one.content) for position, one in enumerate(attachments)
    )
    assert whole == compose(replace(email, attachments=read))
    check(whole, replace(email, attachments=read))
    assert content.size == len(whole)
    assert content.is_seven_bit
    assert content.headers_are_ascii
    assert max(map(len, pieces)) <= 65_536
    assert await pieces_of(content) == pieces


async def test_small_attachments_are_read_at_once(crm: Crm, pool: Database) -> None:
    email = await email_with(crm, Stored(b"one"), Stored(b"two" * 1000, encoding="zlib"))
    content = await write_content(pool, email)
    assert isinstance(content, bytes)
    check(
        content,
        replace(
            email,
            attachments=(
                Attachment("größe 0", "application/pdf", b"one"),
                Attachment("größe 1", "application/pdf", b"two" * 1000),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("attachments", "words"),
    [
        ([Stored(b"x", encoding="zlib", packed=b"not zlib")], "is not zlib, as its encoding says"),
        ([Stored(b"x", encoding="zlib", packed=b"not zlib" * LARGE)], "is not zlib, as its encoding says"),
        ([Stored(b"x", encoding="zlib", packed=zlib.compress(b"cut off" * 9)[:-9])], "is not zlib to its end"),
        ([Stored(b"x", encoding="zlib", packed=zlib.compress(NOISE)[:-9])], "is not zlib to its end"),
        ([Stored(b"x", encoding="zlib", packed=zlib.compress(bytes(101 << 20)))], "are more than 100 MB"),
        (
            [Stored(bytes(60 << 20), encoding="zlib"), Stored(bytes(61 << 20), encoding="zlib")],
            "are more than 100 MB",
        ),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_a_relay_hears_of_it(
    crm: Crm, pool: Database, attachments: Sequence[Stored], words: str
) -> None:
    with pytest.raises(ContentRefused, match=words):
        await write_content(pool, await email_with(crm, *attachments))


async def test_an_attachment_that_changed_meanwhile_is_not_sent_as_if_it_had_not(crm: Crm, pool: Database) -> None:
    content = await write_content(pool, await email_with(crm, Stored(NOISE)))
    assert isinstance(content, StreamedContent)
    await crm.admin.execute("UPDATE crm.blob SET content = substring(content FROM 2)")
    with pytest.raises(DatabaseError, match="has changed since it was measured"):
        await pieces_of(content)
    await crm.admin.execute("DELETE FROM crm.attachment")
    await crm.admin.execute("DELETE FROM crm.blob")
    with pytest.raises(ContentRefused, match="is gone"):
        await pieces_of(content)


async def test_streaming_keeps_no_connection_between_two_pieces(crm: Crm, database: str) -> None:
    email = await email_with(crm, Stored(NOISE, encoding="zlib"))
    async with Database(database, connections=1) as pool:
        content = await write_content(pool, email)
        assert isinstance(content, StreamedContent)
        async for _ in content:
            await pool.ping()


async def test_a_mistake_of_ours_hurts_only_its_email(pool: Database) -> None:
    with pytest.raises(ContentRefused, match="it cannot be composed: AttributeError"):
        await write_content(pool, replace(BASE, date=None))  # type: ignore[arg-type]  # the mistake


def test_a_size_limit_is_told_in_words() -> None:
    refuse_size(b"1234", 0)
    refuse_size(b"1234", 4)
    with pytest.raises(ContentRefused, match=r"the message has 5 bytes, and the profile lets 4 through \(max_size\)"):
        refuse_size(b"12345", 4)


def test_ids_of_parts_are_the_same_at_each_attempt() -> None:
    email = replace(BASE, id=UUID(int=9), html="<p>")
    assert compose(email) == compose(replace(email, attempt_id=UUID(int=10), attempt_number=2))
