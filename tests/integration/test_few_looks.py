"""How little the pages Why? and All well? ask the database, and that they say the same for it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from router.model.viewer import Grant, StaffRole, Viewer
from router.operations import overview, why
from router.operations import status as operation
from router.operations.backing import Backing
from router.operations.trace import Traced
from router.operations.why import Known
from router.profile import Profiles
from router.read import read
from router.repository import processes
from router.repository.database import Connection, Database
from router.repository.incoming import sources
from router.repository.incoming.registry import Source, register
from router.settings import Settings
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.support.crm import Crm

LEASE = timedelta(seconds=10)
ANN = Viewer(1, "ann", (Grant(StaffRole.ADMINISTER),))


@pytest.fixture
async def router(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
async def backing(router: Database, tmp_path: Path) -> AsyncIterator[Backing]:
    made = Backing(lambda: Profiles((), ()), Settings(profiles=tmp_path))
    made.use(router)
    async with Workers(read, unwrap, limit=10, size=1) as workers:
        made.use_workers(workers)
        yield made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the database was asked, without BEGIN and COMMIT."""
    queries: list[str] = []
    lend = Database.connection

    @asynccontextmanager
    async def recorded(database: Database) -> AsyncIterator[Connection]:
        def note(record: Any) -> None:
            if re.search(r"\b(router|crm)\.", record.query):
                queries.append(record.query)

        async with lend(database) as connection:
            with connection.query_logger(note):
                yield connection
                await asyncio.sleep(0)  # the loggers are called then

    monkeypatch.setattr(Database, "connection", recorded)
    return queries


async def owned(crm: Crm, router: Database, mailbox: str, folder: str = "INBOX") -> int:
    """Make a source of an owner's mailbox."""
    owner_id: UUID | None = await crm.admin.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", mailbox)
    source = Source("staff", mailbox, f"imap:{mailbox}", folder, owner_id or await crm.owner(mailbox), "all")
    return (await register(router, [source]))[source]


async def missed(crm: Crm, source_id: int, number: int = 3) -> None:
    await crm.admin.execute(
        """
        INSERT INTO router.audit (source_id, audited_at, messages, waiting, missing, missing_since)
        VALUES ($1, now(), 9, 0, $2::bigint, CASE WHEN $2::bigint > 0 THEN now() END)
        """,
        source_id,
        number,
    )


async def test_the_sources_at_fault_are_told_alone_as_with_all_the_rest(
    crm: Crm, router: Database, tmp_path: Path
) -> None:
    ids = [await owned(crm, router, f"box{number}@in.test") for number in range(6)]
    await sources.note_fault(router, ids[4], "wrong password")
    await sources.note_fault(router, ids[1], "no such host")
    await missed(crm, ids[1])
    await missed(crm, ids[2])
    await missed(crm, ids[3], 0)
    # Of a mailbox that is read, this folder is not: what lies there is nobody's fault.
    former = await owned(crm, router, "box5@in.test", "Old")
    await missed(crm, former)
    await crm.admin.execute("UPDATE router.source SET identity = 'box5@in.test' WHERE mailbox = 'box5@in.test'")

    async def agree(expected: list[str]) -> None:
        alive = await processes.list_processes(router, LEASE)
        found = await operation.read_source_faults(router, LEASE, alive)
        report = await operation.read(router, LEASE, tmp_path)
        assert found == [one for one in report.faults if one.part == "source"]
        assert [one.name for one in found] == expected

    told = [
        "staff box1@in.test INBOX",
        "staff box4@in.test INBOX",
        "staff box1@in.test INBOX",
        "staff box2@in.test INBOX",
    ]
    await agree([*told, "staff box5@in.test Old"])  # nobody reads any folder of it
    process_id = uuid4()
    await processes.beat(router, process_id)
    await crm.admin.execute("UPDATE router.source SET process_id = $1 WHERE id = $2", process_id, ids[5])
    await agree(told)
    await crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 hour'")
    await agree([*told, "staff box5@in.test Old"])


@pytest.mark.parametrize(
    "known", [Known(sender="karl@kunde.test"), Known(message_id="1@kunde.test"), Known(subject="frames")], ids=str
)
async def test_why_that_finds_nothing_looks_once(
    crm: Crm, router: Database, backing: Backing, asked: list[str], known: Known
) -> None:
    for number in range(25):
        await owned(crm, router, f"box{number:02}@in.test")
    await crm.admin.execute("UPDATE crm.owner SET approved = false WHERE mailbox = 'box03@in.test'")
    asked.clear()
    traced: Traced = (await why.find(backing, ANN, known)).traced
    assert not traced.emails
    names = [one.mailbox for one in traced.owners]
    assert len(names) == 20
    assert names[0] == "box00@in.test"
    assert "box03@in.test" not in names
    assert traced.other_owners == 4
    # As many, however many mailboxes there are; and nothing of the outbox or of the queue of senders.
    assert len(asked) <= 12, "\n".join(asked)
    assert not [one for one in asked if re.search(r"router\.(outbox|unresolved_email|sender_\w+)\b", one)]
    assert sum("AS e WHERE" in one and "LIMIT 21" in one for one in asked) == 1


async def test_why_tells_nobody_of_mailboxes_that_are_not_theirs(crm: Crm, router: Database, backing: Backing) -> None:
    for number in range(3):
        await owned(crm, router, f"box{number}@in.test")
    mine: UUID = await crm.admin.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = 'box1@in.test'")
    bob = Viewer(2, "bob", (Grant(StaffRole.VIEW, mine),))
    traced = (await why.find(backing, bob, Known(sender="karl@kunde.test"))).traced
    assert [one.mailbox for one in traced.owners] == ["box1@in.test"]
    assert traced.other_owners == 0


async def test_all_well_reads_each_thing_once(crm: Crm, router: Database, backing: Backing, asked: list[str]) -> None:
    await owned(crm, router, "ann@in.test")
    asked.clear()
    found = await overview.read(backing)
    assert found.mailboxes == 1
    assert len(asked) <= 20, "\n".join(asked)
    assert sum("crm.owner AS o LEFT JOIN crm.record" in one for one in asked) == 1
    assert not [one for one in asked if "router.unresolved_email" in one]
