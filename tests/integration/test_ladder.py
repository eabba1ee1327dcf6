"""Whatever the database says of one message: all others are in, it is in or dead, and nothing is tried for ever."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from router.errors import DatabaseError, MessageWaits
from router.incoming import promote
from router.incoming.promote import Promoter
from router.model import Attachment, CalendarEvent, Classification, Forward, Mention, RecipientReport, Report
from router.repository.database import Database
from router.repository.incoming.batch import Batch
from router.repository.incoming.sources import Lease
from router.repository.incoming.trial import Trial, try_out
from tests.integration.test_promote import SETTLED, Crm, copies, message
from tests.support.build import reading
from transports.base import Cursor, Place

# One of each class that PostgreSQL has, in which a statement can end.
STATES = [
    "08006", "0A000", "0B000", "0F000", "20000", "21000", "22001", "23514", "24000", "25P03", "27000", "28000",
    "2D000", "2F005", "34000", "38000", "39000", "3B001", "3D000", "3F000", "40001", "40P01", "42501", "42P01",
    "44000", "53100", "53200", "54000", "55P03", "57014", "57P01", "58030", "F0001", "HV000", "P0001", "XX000",
]  # fmt: skip

# Where the third of five messages meets it; the condition is on the row that is written.
WRITTEN = {
    "crm.email": "NEW.subject = 'Number 3'",
    "crm.party": "NEW.address = '3@kunde.test'",
    "crm.receipt": "NEW.place = '1:3'",
    "crm.attachment": "NEW.filename = '3.txt'",
    "crm.blob": "NEW.content = '3'",
    "router.decision": "NEW.place = '3' AND NEW.disposition <> 'dead'",
    "router.message": f"NEW.key = '\\x{message(3).key.hex()}'",
}


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database) as pool:
        yield pool


@pytest.fixture
def crm(opened: Database) -> Crm:
    return Crm(opened)


async def _break(crm: Crm, table: str, condition: str, state: str) -> None:
    await crm.execute(
        f"""
        CREATE OR REPLACE FUNCTION public.break() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF {condition} THEN RAISE EXCEPTION 'broken by a developer' USING ERRCODE = '{state}'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER zz_break BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION public.break();
        """
    )


def _batch(lease: Lease, owner_id: UUID) -> Batch:
    messages = [
        message(n, sender=f"{n}@kunde.test", attachments=(Attachment(f"{n}.txt", "text/plain", str(n).encode()),))
        for n in range(1, 6)
    ]
    return Batch(copies(lease, owner_id, messages), lease, Cursor("1:5"), settles=SETTLED)


async def _promote_patiently(promoter: Promoter, batch: Batch) -> int:
    """As a reader does, which tries again; how often it had to."""
    for tries in range(10):
        try:
            await promoter.promote(batch)
        except DatabaseError:
            continue
        return tries
    raise AssertionError("it would be tried for ever")


@pytest.mark.parametrize("table", WRITTEN)
async def test_one_message_that_the_database_refuses_is_dead_and_all_others_are_in(crm: Crm, table: str) -> None:
    for number, state in enumerate(STATES):
        owner_id = await crm.owner(f"ulla{number}@example.com", "all")
        lease = await crm.source(owner_id, f"ulla{number}@example.com")
        await _break(crm, table, WRITTEN[table], state)
        tries = await _promote_patiently(Promoter(crm.database, 0, 0), _batch(lease, owner_id))
        rows = await crm.rows(
            "SELECT place, disposition, reasons FROM router.decision WHERE source_id = $1 ORDER BY place",
            lease.source_id,
        )
        assert [row["place"] for row in rows] == ["1", "2", "3", "4", "5"], state
        assert [row["disposition"] for row in rows if row["place"] != "3"] == ["promoted"] * 4, state
        (third,) = (row for row in rows if row["place"] == "3")
        assert third["disposition"] == "dead", state
        assert state in third["reasons"][0]
        assert tries <= 3, state
        assert await crm.value("SELECT cursor FROM router.source WHERE id = $1", lease.source_id) == "1:5"
        await crm.execute(f"DROP TRIGGER zz_break ON {table}; TRUNCATE crm.email, crm.blob, router.message CASCADE")


@pytest.mark.parametrize("state", ["40P01", "22023", "23514", "42883", "54000", "P0001", "XX000"])
async def test_what_every_message_meets_makes_no_dead_letters(crm: Crm, state: str) -> None:
    for number, table in enumerate(
        ("crm.email", "crm.party", "crm.receipt", "crm.attachment", "crm.blob", "crm.event")
    ):
        owner_id = await crm.owner(f"ulla{number}@example.com", "all")
        lease = await crm.source(owner_id, f"ulla{number}@example.com")
        await _break(crm, table, "true", state)
        promoter = Promoter(crm.database, patience=0)
        for _ in range(4):
            with pytest.raises(DatabaseError, match=state):
                await promoter.promote(_batch(lease, owner_id))
        assert await crm.value("SELECT count(*) FROM router.decision WHERE source_id = $1", lease.source_id) == 0, table
        await crm.execute(f"DROP TRIGGER zz_break ON {table}")
        await promoter.promote(_batch(lease, owner_id))
        dispositions = "SELECT array_agg(disposition) FROM router.decision WHERE source_id = $1"
        assert await crm.value(dispositions, lease.source_id) == ["promoted"] * 5, table
        await crm.execute("TRUNCATE crm.email, crm.blob, router.message CASCADE")


async def test_one_message_ends_its_ladder_behind_a_portion_that_gets_in(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await _break(crm, "crm.email", WRITTEN["crm.email"], "53200")
    promoter = Promoter(crm.database, patience=0)
    whole = _batch(lease, owner_id)
    portions = [replace(whole, copies=whole.copies[:2], cursor=None), replace(whole, copies=whole.copies[2:])]
    for _ in range(6):
        with suppress(DatabaseError):
            for portion in portions:
                await promoter.promote(portion)
    rows = await crm.rows("SELECT disposition FROM router.decision ORDER BY place")
    assert [row["disposition"] for row in rows] == ["promoted", "promoted", "dead", "promoted", "promoted"]
    assert await crm.value("SELECT cursor FROM router.source WHERE id = $1", lease.source_id) == "1:5"


async def test_a_lone_message_that_is_locked_waits_before_it_is_dead(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await _break(crm, "crm.email", WRITTEN["crm.email"], "55P03")
    promoter = Promoter(crm.database, patience=3600)
    for _ in range(5):
        with pytest.raises(DatabaseError, match="55P03"):
            await promoter.promote(_batch(lease, owner_id))
    places = await crm.rows("SELECT place FROM router.decision WHERE disposition = 'promoted' ORDER BY place")
    assert [row["place"] for row in places] == ["1", "2", "4", "5"]
    assert await crm.value("SELECT cursor FROM router.source WHERE id = $1", lease.source_id) is None
    await crm.execute("DROP TRIGGER zz_break ON crm.email")
    await promoter.promote(_batch(lease, owner_id))
    assert await crm.value("SELECT count(*) FROM router.decision WHERE disposition = 'promoted'") == 5


@pytest.mark.parametrize("in_one_place", [False, True])
async def test_no_message_is_dead_where_the_cause_ends_just_before_a_plain_one_is_tried(
    crm: Crm, monkeypatch: pytest.MonkeyPatch, in_one_place: bool
) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    batch = _batch(lease, owner_id)
    if in_one_place:
        forward = Forward(Place("1", "1"), "attached", "ulla@example.com", None, None)
        forwarded = [replace(copy, place=Place("1", f"1:{n}"), forward=forward) for n, copy in enumerate(batch.copies)]
        batch = replace(batch, copies=forwarded)
    await _break(crm, "crm.email", "true", "P0001")
    ours = {copy.id for copy in batch.copies}

    async def end_and_try_out(database: Database, one: Trial, *rest: Any, **more: Any) -> None:
        if one.copy.id not in ours:
            await crm.execute("DROP TRIGGER IF EXISTS zz_break ON crm.email")
        await try_out(database, one, *rest, **more)

    monkeypatch.setattr(promote, "try_out", end_and_try_out)
    decisions = await Promoter(crm.database).promote(batch)
    assert [decision.disposition for decision in decisions] == ["promoted"] * 5


async def test_a_dead_letter_whose_reason_cannot_be_stored_has_constant_words(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await _break(crm, "router.decision", "NEW.place = '3' AND NEW.reasons[1] NOT LIKE '%neither%'", "P0001")
    await Promoter(crm.database).promote(_batch(lease, owner_id))
    reasons = await crm.value("SELECT reasons FROM router.decision WHERE disposition = 'dead'")
    assert reasons == ["it could not be stored, and neither could the reason"]


async def test_a_subject_that_is_too_long_for_a_developers_index_is_one_dead_letter(crm: Crm) -> None:
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await crm.execute("CREATE INDEX ON crm.email (subject)")
    incompressible = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(9000))
    messages = [message(1), message(2, subject=incompressible), message(3)]
    decisions = await Promoter(crm.database).promote(Batch(copies(lease, owner_id, messages), lease, Cursor("1:3")))
    assert [decision.disposition for decision in decisions] == ["promoted", "dead", "promoted"]
    assert "54000" in decisions[1].reasons[0]


BOUNCE = Report("bounce", (RecipientReport("karl@kunde.test", "bounce", "5.1.1", "nobody"),), ("offer@example.com",))
# A message of a kind, and where the CRM refuses all of that kind; the condition is on the row that is written.
KINDS = {
    "automatic": (message(3), Classification(automatic="vacation"), "crm.email", "'automatic' = ANY (NEW.flags)"),
    "list": (message(3), Classification(bulk="list"), "crm.email", "'list' = ANY (NEW.flags)"),
    "calendar": (message(3), Classification(calendar=CalendarEvent("reply", "1")), "crm.email", "NEW.calendar <> '{}'"),
    "bounce": (message(3), Classification("report", BOUNCE), "crm.email", "'bounce' = ANY (NEW.flags)"),
    "delivery": (message(3), Classification(report=BOUNCE), "crm.delivery", "true"),
    "answer": (
        message(3, in_reply_to=("offer@example.com",)), Classification(), "crm.email", "NEW.correlated_id IS NOT NULL",
    ),
    "read": (
        message(3), Classification(read_id="offer@example.com"), "crm.email", "NEW.correlation_method = 'read-receipt'",
    ),
    "signed": (message(3, flags=("pgp-signed",)), Classification(), "crm.email", "'pgp-signed' = ANY (NEW.flags)"),
    "defects": (message(3, defects=("no Date",)), Classification(), "crm.email", "cardinality(NEW.defects) > 0"),
    "copied": (
        message(3, mentions=tuple(Mention("cc", n, f"{n}@kunde.test") for n in range(3))), Classification(),
        "crm.party", "NEW.role = 'cc' AND NEW.position = 2",
    ),
    "attached": (
        message(3, attachments=(Attachment("3.txt", "text/plain", b"3"),)), Classification(), "crm.attachment", "true",
    ),
}  # fmt: skip


async def _among_others(crm: Crm, kind: str) -> Batch:
    """Five messages, the third of a kind, and the email that it may answer or report on."""
    owner_id = await crm.owner("ulla@example.com", "all")
    lease = await crm.source(owner_id, "ulla@example.com")
    await crm.execute(
        """
        WITH offer AS (
            INSERT INTO crm.email (direction, status, message_id) VALUES ('out', 'sent', 'offer@example.com')
            RETURNING id, message_id
        ), known AS (  -- as for an email of the CRM's
            INSERT INTO router.known_id (hash, email_id) SELECT router.message_id_hash(message_id), id FROM offer
        )
        INSERT INTO crm.party (email_id, role, address) SELECT id, 'to', 'karl@kunde.test' FROM offer
        """
    )
    one, classification, _, _ = KINDS[kind]
    batch = copies(lease, owner_id, [message(1), message(2), one, message(4), message(5)])
    batch[2] = replace(batch[2], reading=reading(one, classification))
    return Batch(batch, lease, Cursor("1:5"), settles=SETTLED)


@pytest.mark.parametrize("state", ["P0001", "23514", "53200"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_every_message_of_a_kind_meets_makes_no_dead_letters_and_all_others_are_in(
    crm: Crm, kind: str, state: str
) -> None:
    batch = await _among_others(crm, kind)
    _, _, table, condition = KINDS[kind]
    await _break(crm, table, condition, state)
    promoter = Promoter(crm.database, patience=0)
    for _ in range(3):
        with pytest.raises(DatabaseError, match=state):
            await promoter.promote(batch)
    with pytest.raises(MessageWaits, match=state):  # by now it is known which message it is
        await promoter.promote(batch)
    rows = await crm.rows("SELECT place, disposition FROM router.decision ORDER BY place")
    assert [tuple(row) for row in rows] == [(place, "promoted") for place in ("1", "2", "4", "5")]
    await crm.execute(f"DROP TRIGGER zz_break ON {table}")
    await promoter.promote(batch)
    assert await crm.value("SELECT array_agg(DISTINCT disposition) FROM router.decision") == ["promoted"]


@pytest.mark.parametrize("state", ["P0001", "23514", "53200"])
@pytest.mark.parametrize("kind", KINDS)
async def test_one_message_of_a_kind_that_the_database_refuses_is_dead(crm: Crm, kind: str, state: str) -> None:
    batch = await _among_others(crm, kind)
    await _break(crm, "crm.email", WRITTEN["crm.email"], state)
    assert await _promote_patiently(Promoter(crm.database, patience=0), batch) <= 3
    rows = await crm.rows("SELECT disposition FROM router.decision ORDER BY place")
    assert [row["disposition"] for row in rows] == ["promoted", "promoted", "dead", "promoted", "promoted"]
