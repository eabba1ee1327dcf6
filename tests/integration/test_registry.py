"""Which row is which source."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest

from router.errors import LeaseLost
from router.repository import processes
from router.repository.database import Database
from router.repository.incoming import sources
from router.repository.incoming.accounts import begin_anew, note_account
from router.repository.incoming.registry import Source, note_profiles, register
from tests.support.crm import Crm
from transports.base import Cursor

ANN = "ann@in.test"
LONG = timedelta(hours=1)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


def shared(profile: str, account: str, folder: str = "INBOX") -> Source:
    return Source(profile, "", account, folder, None, "all")


def of_ann(folder: str = "INBOX", profile: str = "staff", account: str = "imap:ann") -> Source:
    return Source(profile, ANN, account, folder, None, "all")


async def identities(crm: Crm) -> Sequence[tuple[str, str, str]]:
    rows = await crm.admin.fetch("SELECT profile, identity, folder FROM router.source ORDER BY id")
    return [tuple(row) for row in rows]


async def test_a_look_locks_nothing_and_writes_nothing(crm: Crm, pool: Database) -> None:
    """Guards what each process does every few seconds: a transaction of somebody else's would hold up all mailboxes."""
    wanted = [of_ann(), shared("sink", "imap:sink"), shared("door", "smtp:here", "")]
    ids = await register(pool, wanted)
    versions = "SELECT array_agg(xmin::text || xmax::text ORDER BY id) FROM router.source"
    before = await crm.admin.fetchval(versions)
    async with crm.admin.transaction():
        await crm.admin.execute("LOCK TABLE router.source IN SHARE MODE")
        async with asyncio.timeout(10):
            assert await register(pool, wanted) == ids
    assert await crm.admin.fetchval(versions) == before


async def test_what_is_new_waits_for_no_transaction_that_holds_another_source(crm: Crm, pool: Database) -> None:
    await register(pool, [of_ann()])
    bob = Source("staff", "bob@in.test", "imap:bob", "INBOX", None, "now")
    async with crm.admin.transaction():
        await crm.admin.execute("SELECT FROM router.source FOR UPDATE")
        async with asyncio.timeout(10):
            assert len(await register(pool, [of_ann(), bob])) == 2


async def test_t16c_a_mailbox_that_another_record_has_by_now_is_the_same_source(crm: Crm, pool: Database) -> None:
    first, second = await crm.owner(ANN), await crm.record("queue", "Sales")
    for owner_id in (first, second):
        source = Source("staff", ANN, "imap:ann", "INBOX", owner_id, "now")
        assert list((await register(pool, [source])).values()) == [1]
        assert await crm.admin.fetchval("SELECT owner_id FROM router.source") == owner_id


async def test_t16c_two_profiles_of_one_account_have_one_source(crm: Crm, pool: Database) -> None:
    ids = await register(pool, [shared("one", "imap:sink"), shared("two", "imap:sink")])
    assert len(set(ids.values())) == 1
    owned = [of_ann(profile="one"), of_ann(profile="two", account="pop3:ann")]
    assert len(set((await register(pool, owned)).values())) == 1
    assert await crm.admin.fetchval("SELECT count(*) FROM router.source") == 2


async def test_t16c_a_profile_at_a_new_address_takes_nothing_that_another_profile_reads(
    crm: Crm, pool: Database
) -> None:
    await register(pool, [shared("sink", "imap:a"), shared("sink", "imap:a", "Sales"), shared("sink", "smtp:a", "")])
    # "sink" is called "copies" by now, and there is another "sink".
    await register(pool, [shared("sink", "imap:b")], others={"imap:a"})
    assert (await identities(crm))[:2] == [("sink", "imap:a", "INBOX"), ("sink", "imap:a", "Sales")]
    # The account of "sink" is another one, with all folders.
    await register(pool, [shared("sink", "imap:c")], others={"imap:b"})
    assert await identities(crm) == [
        ("sink", "imap:c", "INBOX"),
        ("sink", "imap:c", "Sales"),
        ("sink", "smtp:a", ""),
        ("sink", "imap:b", "INBOX"),
    ]


async def test_t16c_whoever_holds_one_folder_of_a_mailbox_keeps_the_others_from_being_taken(
    pool: Database,
) -> None:
    mine, other = uuid4(), uuid4()
    for process in (mine, other):
        await processes.beat(pool, process)
    inbox, sales = (await register(pool, [of_ann(), of_ann("Sales")])).values()
    (lease,) = await sources.acquire(pool, mine, [inbox], LONG)
    assert await sources.acquire(pool, other, [sales], LONG) == []
    await sources.release(pool, mine, {inbox: lease.epoch})
    assert [one.source_id for one in await sources.acquire(pool, other, [sales], LONG)] == [sales]


async def test_t16c_another_account_begins_where_the_former_one_began(crm: Crm, pool: Database) -> None:
    process = uuid4()
    await processes.beat(pool, process)
    wanted = [of_ann(), of_ann("Empty")]
    inbox = (await register(pool, wanted[:1]))[wanted[0]]
    (lease,) = await sources.acquire(pool, process, [inbox], LONG)
    await sources.claim_folders(pool, lease, wanted)
    await crm.admin.execute("UPDATE router.source SET begins_at = '2026-01-01Z', cursor = '1:1'")
    await crm.admin.execute(
        "INSERT INTO router.decision (source_id, validity, place, disposition, rule, reasons, received_at) "
        "VALUES ($1, '1', '1', 'ignored', 'all', '{}', now())",
        inbox,
    )
    await begin_anew(pool, lease, "imap:new")
    rows = await crm.admin.fetch(
        "SELECT identity, account, folder, cursor, process_id, begins_at = '2026-01-01Z' FROM router.source ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        (None, "imap:ann", "INBOX", "1:1", None, True),
        (ANN, "imap:new", "INBOX", None, None, True),
        (ANN, "imap:new", "Empty", None, None, True),
    ]
    # Whoever held the former one writes nothing more.
    for late in (begin_anew(pool, lease, "imap:newer"), note_account(pool, lease, "imap:newer")):
        with pytest.raises(LeaseLost):
            await late
    with pytest.raises(LeaseLost):
        await sources.begin(pool, lease, Cursor("1:9"))


async def test_t16c_the_profile_is_noted_for_all_folders_and_the_former_is_told_once(crm: Crm, pool: Database) -> None:
    inbox, _ = (await register(pool, [of_ann(), of_ann("Sales")])).values()
    assert await note_profiles(pool, {inbox: "staff"}) == {}
    assert await note_profiles(pool, {inbox: "people"}) == {inbox: "staff"}
    assert await note_profiles(pool, {inbox: "people"}) == {}
    assert {profile for profile, _, _ in await identities(crm)} == {"people"}
