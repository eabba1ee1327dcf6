"""An error at every statement of the way in, found by recording them: one message may be dead, all others are in."""

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from router.errors import DatabaseError
from router.incoming.promote import Promoter
from router.model import (
    Attachment,
    Classification,
    RecipientReport,
    Report,
    message_id_hash,
)
from router.repository.database import Database
from router.repository.incoming.batch import Batch
from router.repository.incoming.sources import Lease
from tests.integration.test_promote import SETTLED, Crm, copies, message
from tests.support.breaking import Breaking, Breaks, names, once, unbroken
from tests.support.build import reading
from transports.base import Cursor

# Of each kind that is told apart: of the system, a connection that is lost, of the content, all others; a bug of ours.
STATES: list[str | Exception] = [
    "40P01",
    "57014",
    "lost",
    "22001",
    "23514",
    "P0001",
    "XX000",
    KeyError("a bug of ours"),
]
ONCE = ["55P03", "lost", "23514"]

_numbers = itertools.count(1)


@pytest.fixture
async def broken(database: str) -> AsyncIterator[Breaking]:
    async with Breaking(database) as opened:
        yield opened


@pytest.fixture
async def crm(database: str) -> AsyncIterator[Crm]:
    async with Database(database) as opened:
        yield Crm(opened)


@dataclass
class Case:
    """Five messages of a source of their own; `marks` are in the arguments of whatever is about the third."""

    lease: Lease
    batch: Batch
    marks: Sequence[object]


async def _sent(crm: Crm, number: str, owner_id: UUID) -> UUID:
    """An email of the CRM, which the message of this number answers."""
    sent_id: UUID = await crm.value(
        "INSERT INTO crm.email (direction, status, message_id, owner_id) VALUES ('out', 'draft', $1, $2) RETURNING id",
        f"offer{number}@example.com",
        owner_id,
    )
    await crm.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'to', 'karl@kunde.test')", sent_id)
    await crm.execute(
        "INSERT INTO router.message_id (hash, email_id) VALUES ($1, $2)",
        message_id_hash(f"offer{number}@example.com"),
        sent_id,
    )
    return sent_id


async def _answers(crm: Crm, *, reports: bool) -> Case:
    """Automatic answers with attachments; or reports on what was sent."""
    case = next(_numbers)
    owner_id = await crm.owner(f"ulla{case}@example.com", "all")
    lease = await crm.source(owner_id, f"ulla{case}@example.com")
    made, marks = [], list[object]()
    for n in range(1, 6):
        number = f"{case}.{n}"
        sent_id = await _sent(crm, number, owner_id)
        content = number.encode()
        one = message(
            n,
            sender=f"{number}@kunde.test",
            message_id=f"{number}@kunde.test",
            in_reply_to=(f"offer{number}@example.com",),
            attachments=(Attachment(f"{n}.txt", "text/plain", content),),
        )
        told = (RecipientReport("karl@kunde.test", "bounce", "5.1.1"),)
        report = Report("bounce", told, (f"offer{number}@example.com",)) if reports else None
        made.append(reading(one, Classification("Auto-Submitted: auto-replied", report)))
        if n == 3:
            ids = [sent_id, one.message_id, one.key, message_id_hash(f"{number}@kunde.test")]
            marks = [*ids, f"{number}@kunde.test", hashlib.sha256(content).digest()]
    plain = copies(lease, owner_id, [message(n) for n in range(1, 6)])
    read = [replace(copy, reading=of_it) for copy, of_it in zip(plain, made, strict=True)]
    return Case(lease, Batch(read, lease, Cursor("1:5"), settles=SETTLED), marks)


async def _automatic(crm: Crm) -> Case:
    return await _answers(crm, reports=False)


async def _reports(crm: Crm) -> Case:
    return await _answers(crm, reports=True)


async def _again(crm: Crm) -> Case:
    """Messages that were ignored, and are to be decided again."""
    case = await _answers(crm, reports=False)
    owner_id = case.batch.copies[0].owner_id
    await crm.execute("UPDATE crm.owner SET tracking_rule = 'none' WHERE record_id = $1", owner_id)
    await Promoter(crm.database).promote(case.batch)
    await crm.execute("UPDATE crm.owner SET tracking_rule = 'all' WHERE record_id = $1", owner_id)
    await crm.execute(
        "INSERT INTO router.decide_again SELECT id, source_id, 'a test' FROM router.decision WHERE source_id = $1",
        case.lease.source_id,
    )
    return replace(case, batch=replace(case.batch, again=True))


Make = Callable[[Crm], Awaitable[Case]]
CASES: list[Make] = [_automatic, _reports, _again]


async def _promote_patiently(promoter: Promoter, batch: Batch) -> int:
    """As a reader does, which tries again; how often it had to."""
    for tries in range(10):
        try:
            await promoter.promote(batch)
        except DatabaseError:
            continue
        return tries
    raise AssertionError("it would be tried for ever")


def _at(place: str, state: str | Exception, marks: Sequence[object]) -> Breaks:
    """Break the statements that stand there and are about a message with these marks."""
    return lambda at, arguments: state if at == place and names(arguments, marks) else None


async def _recorded(crm: Crm, broken: Breaking, make: Make) -> list[str]:
    """The statements of a batch that are about its third message."""
    case = await make(crm)
    found: dict[str, None] = {}

    def note(place: str, arguments: tuple[object, ...]) -> None:
        if names(arguments, case.marks):
            found[place] = None

    broken.breaks = note
    await Promoter(broken).promote(case.batch)
    broken.breaks = unbroken
    return list(found)


async def _dispositions(crm: Crm, case: Case) -> dict[str, str]:
    rows = await crm.rows(
        "SELECT place, disposition FROM router.decision WHERE source_id = $1 ORDER BY place", case.lease.source_id
    )
    return {row["place"]: row["disposition"] for row in rows}


@pytest.mark.parametrize("make", CASES)
async def test_one_message_that_breaks_a_statement_is_dead_and_all_others_are_in(
    crm: Crm, broken: Breaking, make: Make
) -> None:
    places = await _recorded(crm, broken, make)
    assert len(places) >= 4, places
    for place in places:
        for state in STATES:
            case = await make(crm)
            broken.breaks = _at(place, state, case.marks)
            tries = await _promote_patiently(Promoter(broken, patience=0), case.batch)
            broken.breaks = unbroken
            assert await _dispositions(crm, case) == {
                "1": "promoted", "2": "promoted", "3": "dead", "4": "promoted", "5": "promoted"
            }, (place, state)  # fmt: skip
            assert tries <= 3, (place, state)
            assert await crm.value("SELECT cursor FROM router.source WHERE id = $1", case.lease.source_id) == "1:5"


@pytest.mark.parametrize("make", CASES)
async def test_a_statement_that_breaks_once_is_tried_again(crm: Crm, broken: Breaking, make: Make) -> None:
    for place in await _recorded(crm, broken, make):
        for state in ONCE:
            case = await make(crm)
            broken.breaks = once(place, state)
            assert await _promote_patiently(Promoter(broken), case.batch) <= 1
            broken.breaks = unbroken
            assert set((await _dispositions(crm, case)).values()) == {"promoted"}, (place, state)
