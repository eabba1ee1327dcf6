"""What CRM developers meet in SQL: documented in place, and illegal moves are impossible."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.model import message_id_hash, normalize
from router.model.lower_case import lower_case
from router.repository.database import Database
from router.repository.upkeep import move_known_ids


@pytest.fixture
async def sql(database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def owner(sql: "asyncpg.Connection[asyncpg.Record]") -> UUID:
    owner_id = uuid4()
    await sql.execute("INSERT INTO crm.record (id, kind, name) VALUES ($1, 'user', 'Ulla')", owner_id)
    await sql.execute("INSERT INTO crm.address VALUES ('ulla@example.com', $1)", owner_id)
    await sql.execute("INSERT INTO crm.owner (record_id, approved) VALUES ($1, true)", owner_id)
    return owner_id


async def draft(
    sql: "asyncpg.Connection[asyncpg.Record]", *recipients: str, sender: str | None = "ulla@example.com", **columns: Any
) -> UUID:
    names = ", ".join(["direction", "status", *columns])
    values = ", ".join(["'out'", "'draft'", *(f"${n}" for n in range(1, len(columns) + 1))])
    email_id: UUID = await sql.fetchval(
        f"INSERT INTO crm.email ({names}) VALUES ({values}) RETURNING id", *columns.values()
    )
    if sender:
        await sql.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'from', $2)", email_id, sender)
    for recipient in recipients:
        await sql.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'to', $2)", email_id, recipient)
    return email_id


async def test_everything_of_the_public_schema_is_documented_in_place(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    tables = await sql.fetch(
        """
        SELECT c.relname FROM pg_class AS c WHERE c.relnamespace IN ('crm'::regnamespace, 'router'::regnamespace)
        AND c.relkind IN ('r', 'v') AND obj_description(c.oid) IS NULL AND c.relname <> 'migration'
        """
    )
    assert [row["relname"] for row in tables] == []
    obvious = {"id", "created_at", "email_id", "received_at", "subject", "text_body", "html_body", "name", "at"}
    columns = await sql.fetch(
        """
        SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'r' AND col_description(c.oid, a.attnum) IS NULL
        """
    )
    undocumented = {f"{row['relname']}.{row['attname']}" for row in columns if row["attname"] not in obvious}
    assert undocumented == set()


async def test_addresses_are_normalized_alike_in_sql_and_in_python(sql: "asyncpg.Connection[asyncpg.Record]") -> None:
    for address in (
        "John.Smith@EXAMPLE.com",
        "  a@b.c\r\n",
        "bücher@MÜNCHEN.example",
        "bücher@xn--mnchen-3ya.example",
        "x@XN--BCHER-KVA.xn--p1ai",
        "a@xn--99999999",
        "xn--bcher-kva@example.com",
        "e\u0301@example.com",
        "no domain ü",
        "",
        "a@b@ü.test",
        "a@xn--xn--bcher-kva-.test",
        "a@xn--.test",
        "a@xn--bcher-2pa.test",
        "a@xn--bucher-xyd.test",
        "a@xn--strae-oqa.test",
        "a@xn--client-gf0c.test",
        "a@xn--client-cja.test",
        "a@xn--client-nf0c.test",
        "a@xn--a.test",
        "a@xn--mgba3gch31f060k.test",
        "a@xn--ü.test",
        "a@xn--ü-abc.test",
        "H̱@example.com",
        "ΝΊΚΟΣ@ΒΌΛΟΣ.example",
        "ΝΊΚΟΣ.Α@example.com",
        "νίκος@βόλος.example",
        "İSTANBUL@İ.example",
        "\u212aelvin@\u2126.example",
        '"ann"@x.test',
        '"Ann"."Smith"@x.test',
        '"a\\n\\n"@x.test',
        '"a\\\n"@x.test',
        '"a b"@x.test',
        '"ann@x.test',
        '"ann"b@x.test',
        '""@x.test',
        'a\\n"n"@x.test',
        '"ann..b"@x.test',
        '"ä\u0308"@x"y".test',
        "\uff41\uff2e\uff4e@\uff38\uff0etest",
        "ann@x\u3002test",
        "ann\u3002b@\uff58\uff4e--bcher-kva\uff61test",
        "ann\uff20x.test",
        "a@xn--lient-op33a.test",
    ):
        assert await sql.fetchval("SELECT crm.normalise($1)", address) == normalize(address)


async def test_every_letter_has_one_small_letter_in_sql_and_in_python(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    letters = [chr(point) for point in range(1, sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(letters), 20_000):
        text = "".join(letters[start : start + 20_000])
        assert await sql.fetchval("SELECT crm.lower_case($1)", text) == lower_case(text)
    changed = [letter for letter in letters if lower_case(letter) != letter]
    in_words = [f"a{letter}{letter}@{letter}b{letter}.example" for letter in changed]
    found = await sql.fetch(
        "SELECT crm.normalise(a) AS a FROM unnest($1::text[]) WITH ORDINALITY AS t (a, n) ORDER BY n", in_words
    )
    assert [row["a"] for row in found] == [normalize(address) for address in in_words]


async def test_every_letter_is_of_one_width_and_quoted_alike_in_sql_and_in_python(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    near = {*range(1, 0x3100), *range(0xFE00, 0x10000)}
    letters = [chr(point) for point in (*sorted(near), *range(0x3100, sys.maxunicode + 1, 251)) if point >> 11 != 27]
    addresses = [f'"a{letter}"@{letter}b.example' for letter in letters]
    found = await sql.fetch(
        "SELECT crm.normalise(a) AS a FROM unnest($1::text[]) WITH ORDINALITY AS t (a, n) ORDER BY n", addresses
    )
    assert [row["a"] for row in found] == [normalize(address) for address in addresses]


async def test_the_same_characters_are_taken_for_hidden_ones_in_sql_and_in_python(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    # All near those that are hidden.
    near = [(0x80, 0x3200), (0xFD00, 0x10000), (0x1BC90, 0x1BCB0), (0x1D160, 0x1D190), (0xDFFF0, 0xE1010)]
    letters = [chr(point) for first, end in near for point in range(first, end)]
    addresses = ["x@xn--" + f"a{letter}b".encode("punycode").decode() for letter in letters]
    found = await sql.fetch(
        "SELECT crm.normalise(a) AS a FROM unnest($1::text[]) WITH ORDINALITY AS t (a, n) ORDER BY n", addresses
    )
    assert [row["a"] for row in found] == [normalize(address) for address in addresses]


def test_any_address_is_normalized_alike_and_stays_so(database: str) -> None:
    label = st.text(alphabet="abcxyzäößñéжщ-ÄÉ09ΣσςİıK\uff21\uff0e", min_size=1, max_size=12)
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database))

        @settings(max_examples=60, deadline=None)
        @given(
            local=label | label.map('"{}"'.format),
            labels=st.lists(label, min_size=1, max_size=3),
            encoded=st.booleans(),
        )
        def check(local: str, labels: list[str], encoded: bool) -> None:
            domain = ".".join("xn--" + one.encode("punycode").decode() if encoded else one for one in labels)
            address = f"{local}@{domain}"
            once = runner.run(connection.fetchval("SELECT crm.normalise($1)", address))
            assert once == normalize(address)
            assert runner.run(connection.fetchval("SELECT crm.normalise($1)", once)) == once == normalize(once)

        try:
            check()
        finally:
            runner.run(connection.close())


@pytest.mark.parametrize(
    ("sql_text", "words"),
    [
        ("UPDATE crm.email SET status = 'sent'", "cannot go from draft to sent"),
        ("UPDATE crm.email SET status = 'sending'", "cannot go from draft to sending"),
        ("UPDATE crm.email SET direction = 'in', status = 'received'", "direction"),
        ("UPDATE crm.email SET status = 'received'", "cannot go from draft to received"),
        ("INSERT INTO crm.email (direction, status) VALUES ('out', 'pending_send')", "cannot begin as pending_send"),
        ("INSERT INTO crm.email (direction, status) VALUES ('in', 'draft')", "status_of_direction"),
        ("INSERT INTO crm.address SELECT 'Ulla@Example.com', record_id FROM crm.owner", "address_address_check"),
        ("UPDATE crm.owner SET tracking_rule = 'some'", "owner_tracking_rule_check"),
    ],
)
async def test_illegal_moves_are_impossible_even_for_the_router(
    sql: "asyncpg.Connection[asyncpg.Record]", owner: UUID, sql_text: str, words: str
) -> None:
    await draft(sql, "karl@kunde.test", owner_id=owner)
    with pytest.raises(asyncpg.PostgresError, match=words):
        await sql.execute(sql_text)


async def test_sending_needs_recipients_and_an_owner_and_a_sender_that_is_the_owners(
    sql: "asyncpg.Connection[asyncpg.Record]", owner: UUID
) -> None:
    for email_id, words in (
        (await draft(sql), "has no recipients"),
        (await draft(sql, "k@k.test", sender=None), "has no owner"),
        (await draft(sql, "k@k.test", sender="stranger@example.com"), "has no owner"),
        (
            await draft(sql, "k@k.test", sender="stranger@example.com", owner_id=owner),
            "is not the mailbox of its owner",
        ),
    ):
        with pytest.raises(asyncpg.CheckViolationError, match=words):
            await sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)


@pytest.mark.parametrize("address", ["", "notanaddress", "a\nb@kunde.test", "@kunde.test", "a@b c"])
async def test_a_recipient_must_have_an_address(
    sql: "asyncpg.Connection[asyncpg.Record]", owner: UUID, address: str
) -> None:
    email_id = await draft(sql, "fine@kunde.test", '"a b"@kunde.test', address, owner_id=owner)
    with pytest.raises(asyncpg.CheckViolationError, match="no address that mail can be sent to"):
        await sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
    await sql.execute("DELETE FROM crm.party WHERE address = $1", address)
    await sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)


async def test_a_person_can_say_that_an_unknown_email_arrived(
    sql: "asyncpg.Connection[asyncpg.Record]", owner: UUID
) -> None:
    email_id = await draft(sql, "a@kunde.test", owner_id=owner)
    for status in ("pending_send", "sending", "unknown", "sent"):
        await sql.execute("UPDATE crm.email SET status = $1", status)
    assert await sql.fetchval("SELECT sent_at IS NOT NULL FROM crm.email WHERE id = $1", email_id)


async def test_pending_send_is_queued_and_taken_back(sql: "asyncpg.Connection[asyncpg.Record]", owner: UUID) -> None:
    email_id = await draft(sql, "karl@kunde.test")
    await sql.execute("UPDATE crm.email SET status = 'pending_send'")
    assert await sql.fetchval("SELECT owner_id FROM router.outbox WHERE email_id = $1", email_id) == owner
    await sql.execute("UPDATE crm.email SET status = 'draft'")
    assert await sql.fetchval("SELECT count(*) FROM router.outbox") == 0
    await sql.execute("UPDATE crm.email SET send_after = now() + interval '1 day', status = 'pending_send'")
    assert await sql.fetchval("SELECT next_at > now() FROM router.outbox")


@pytest.mark.usefixtures("owner")
async def test_a_person_who_sends_again_means_all_who_did_not_take_it(
    sql: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    email_id = await draft(sql, "a@kunde.test", "b@kunde.test")
    for status in ("pending_send", "sending", "failed"):
        await sql.execute("UPDATE crm.email SET status = $1", status)
    await sql.execute("DELETE FROM router.outbox")
    await sql.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, 'a@kunde.test', 'accepted'), "
        "($1, 'b@kunde.test', 'refused')",
        email_id,
    )
    await sql.execute("UPDATE crm.email SET status = 'pending_send'")
    assert [row["address"] for row in await sql.fetch("SELECT address FROM crm.delivery")] == ["a@kunde.test"]
    assert await sql.fetchval("SELECT count(*) FROM router.outbox") == 1


@pytest.mark.usefixtures("owner")
async def test_a_new_mailbox_must_be_approved_again(sql: "asyncpg.Connection[asyncpg.Record]") -> None:
    assert await sql.fetchval("SELECT mailbox FROM crm.owner") == "ulla@example.com"  # its record's only address
    await sql.execute("UPDATE crm.owner SET mailbox = 'other@example.com'")
    assert not await sql.fetchval("SELECT approved FROM crm.owner")


@pytest.mark.usefixtures("owner")
async def test_the_crms_role_can_send_and_nothing_beyond(sql: "asyncpg.Connection[asyncpg.Record]") -> None:
    await sql.execute("GRANT email_router_crm TO CURRENT_USER; SET ROLE email_router_crm")
    email_id = await draft(sql, "karl@kunde.test", subject="Offer")
    await sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
    for statement, words in (
        ("UPDATE crm.email SET subject = 'Other'", "what is sent cannot change"),
        ("DELETE FROM crm.party", "its party cannot change"),
        ("UPDATE crm.email SET status = 'sending'", "cannot go from pending_send to sending"),
        ("UPDATE crm.owner SET approved = true", "permission denied"),
        ("UPDATE crm.owner SET tracking_rule = 'all'", "permission denied"),
        ("INSERT INTO crm.owner (record_id, approved) SELECT gen_random_uuid(), true", "permission denied"),
        ("SELECT * FROM router.outbox", "permission denied"),
        ("INSERT INTO crm.receipt SELECT", "permission denied"),
    ):
        with pytest.raises(asyncpg.PostgresError, match=words):
            await sql.execute(statement)
    await sql.execute("UPDATE crm.email SET status = 'canceled' WHERE id = $1", email_id)


async def test_events_are_read_in_an_order_in_which_none_can_appear_later(
    database: str, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    slow = await asyncpg.connect(database)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("INSERT INTO crm.event (kind) VALUES ('sent')")
    await sql.execute("INSERT INTO crm.event (kind) VALUES ('failed')")
    assert await sql.fetch("SELECT kind FROM crm.events_after()") == []
    await transaction.commit()
    await slow.close()
    events = await sql.fetch("SELECT kind, transaction, id FROM crm.events_after()")
    assert [row["kind"] for row in events] == ["sent", "failed"]
    first = events[0]
    after = await sql.fetch("SELECT kind FROM crm.events_after($1, $2)", first["transaction"], first["id"])
    assert [row["kind"] for row in after] == ["failed"]


async def test_message_ids_are_hashed_alike_in_sql_and_in_python(sql: "asyncpg.Connection[asyncpg.Record]") -> None:
    for message_id in ("crm1@example.com", "büro@example.com", "a" * 5_000, ""):
        assert await sql.fetchval("SELECT router.message_id_hash($1)", message_id) == message_id_hash(message_id)


async def test_a_sent_or_received_email_is_known_by_its_message_id(
    sql: "asyncpg.Connection[asyncpg.Record]", database: str
) -> None:
    async def inserted(message_id: str | None, status: str) -> UUID:
        made = await sql.fetchval(
            "INSERT INTO crm.email (direction, status, message_id) VALUES ($1, $2, $3) RETURNING id",
            "in" if status == "received" else "out",
            status,
            message_id,
        )
        assert isinstance(made, UUID)
        return made

    async def known(message_id: str) -> UUID | None:
        async with Database(database) as opened:
            await move_known_ids(opened)
        found: UUID | None = await sql.fetchval(
            "SELECT email_id FROM router.message_id WHERE hash = $1", message_id_hash(message_id)
        )
        return found

    first, received = await inserted("a@example.com", "sent"), await inserted("b@example.com", "received")
    late = await inserted(None, "sent")
    await inserted("a@example.com", "sent")
    for status in ("draft", "canceled"):
        await inserted(f"{status}@example.com", status)
        assert await known(f"{status}@example.com") is None
    assert (await known("a@example.com"), await known("b@example.com")) == (first, received)

    await sql.execute("UPDATE crm.email SET message_id = 'c@example.com' WHERE id = $1", late)
    assert await known("c@example.com") == late

    await sql.execute("DELETE FROM crm.email WHERE id = $1", first)
    again = await inserted("a@example.com", "sent")
    assert await known("a@example.com") == again
