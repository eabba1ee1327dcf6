"""What a relay is given of an email: the CRM's own headers, attachments that are streamed, and nothing too large."""

import os
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from uuid import UUID, uuid4

from router.model import Mention, Outgoing
from router.outgoing.content import StreamedContent, write_content
from router.repository.database import Database
from router.repository.outgoing.sent_copies import read
from tests.support.crm import Crm, Parcel
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import relay, sending
from transports._content import CHUNK

ULLA = "ulla@example.com"
KARL = "karl@kunde.test"


async def test_what_the_crm_sets_of_an_email_is_in_its_headers(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    email_id = await crm.draft(ULLA, KARL, "News", "Hello")
    await crm.sql.execute(
        """
        UPDATE crm.email SET headers = '[["X-Case", "4711 ü"], ["Keywords", "a, b"]]', automatic = true, lane = 'bulk',
            unsubscribe_url = 'https://crm.example/u?id=1' WHERE id = $1
        """,
        email_id,
    )
    await crm.move(email_id, "pending_send")
    async with ScriptedSmtp(offers=("DSN",)) as server, sending(database, relay(server.port)):
        await crm.wait_for_status(email_id, "sent")
    message = message_from_bytes(server.messages[0], policy=policy.default)
    assert message["X-Case"] == "4711 ü"
    assert message["Keywords"] == "a, b"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Precedence"] == "bulk"
    assert message["List-Unsubscribe"] == "<https://crm.example/u?id=1>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert any(f"ENVID={email_id}" in line for line in server.commands[0])
    async with Database(database, 1) as ours:
        copied = await read(ours, email_id, ULLA)
    assert isinstance(copied, Outgoing)
    assert copied.headers == (("X-Case", "4711 ü"), ("Keywords", "a, b"))
    assert (copied.automatic, copied.lane, copied.unsubscribe_url) == (True, "bulk", "https://crm.example/u?id=1")


async def test_o21_attachments_that_are_streamed_arrive_byte_for_byte(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    parcels = [Parcel(f"{uuid4()}.bin", "application/pdf", os.urandom(size)) for size in (1_000_001, 57, 600_000)]
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, KARL, "Offer", "Hello", attachments=parcels)
        await crm.wait_for_status(email_id, "sent")
    message = message_from_bytes(server.messages[0], policy=policy.default)
    arrived = [(part.get_filename(), part.get_payload(decode=True)) for part in message.iter_attachments()]
    assert arrived == [(parcel.filename, parcel.content) for parcel in parcels]


async def test_o21_a_message_above_max_size_is_refused_before_its_relay_hears_of_it(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as server, sending(database, replace(relay(server.port), max_size=1_000_000)):
        large = await crm.send(
            ULLA, KARL, "Offer", "Hello", attachments=[Parcel("a.bin", "application/pdf", bytes(800_000))]
        )
        email = await crm.wait_for_status(large, "failed")
        small = await crm.send(ULLA, KARL, "Offer", "Hello")
        await crm.wait_for_status(small, "sent")
    assert "max_size" in email["status_reason"]
    assert len(server.messages) == 1


async def test_o7_one_recipient_whose_address_is_none_keeps_the_others_from_nothing(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    await crm.send(ULLA, [KARL, "bob@bank.example"], "Offer", "Hello")
    # As a database has it that is older than the check of the schema's.
    await crm.admin.execute("ALTER TABLE crm.party DISABLE TRIGGER USER")
    await crm.admin.execute("UPDATE crm.party SET address = 'bob@my/bank.example' WHERE address = 'bob@bank.example'")
    await crm.admin.execute("ALTER TABLE crm.party ENABLE TRIGGER USER")
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        await crm.wait_for(2, "SELECT count(*) FROM crm.delivery WHERE state IN ('accepted', 'refused')")
    states = await crm.rows("SELECT address, state, code FROM crm.delivery ORDER BY address")
    assert [tuple(row) for row in states] == [("bob@my/bank.example", "refused", "5.1.3"), (KARL, "accepted", "2.0.0")]
    assert sum(line.startswith("RCPT") for line in server.commands[0]) == 1


async def test_o21_a_hundred_megabytes_are_never_in_memory_together(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    size = 99 << 20
    email_id = await crm.draft(ULLA, KARL, "Offer", "Hello")
    await crm.admin.execute(
        """
        WITH b AS (
            INSERT INTO crm.blob (sha256, content)
            SELECT sha256(c), c FROM (SELECT convert_to(repeat('0123456789abcdef', $2::int / 16), 'UTF8') AS c) AS made
            RETURNING sha256
        )
        INSERT INTO crm.attachment (email_id, position, filename, media_type, size, sha256)
        SELECT $1, 0, 'film.bin', 'application/octet-stream', $2::int, sha256 FROM b
        """,
        email_id,
        size,
    )
    async with Database(database, 1) as ours:
        tracemalloc.start()
        try:
            content = await write_content(ours, _made_up(email_id))
            assert isinstance(content, StreamedContent)
            came = 0
            async for piece in content:
                assert len(piece) <= CHUNK
                came += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert came == content.size > size * 4 / 3
    assert peak < 8 << 20


def _made_up(email_id: UUID) -> Outgoing:
    return Outgoing(
        id=email_id, attempt_id=UUID(int=0), attempt_number=1, owner_id=UUID(int=0), mailbox=ULLA, message_id="1@x",
        token="k3m9x2p7", date=datetime(2026, 11, 28, tzinfo=UTC), subject="Offer", text="Hello", html=None,
        in_reply_to=None, thread_ids=(), mentions=(Mention("to", 0, KARL, ""),), recipients=(KARL,), attached=True,
    )  # fmt: skip
