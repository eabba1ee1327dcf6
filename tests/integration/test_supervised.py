"""A bug of the router's own ends nothing but what it is in: it is told, and started again."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from router import supervise
from router.errors import DatabaseAway
from router.incoming.follow import Follower
from router.incoming.mailboxes import MailboxAssignment
from router.outgoing.sender import Sender
from router.profile.store import ProfileStore
from router.read import read
from router.repository import processes
from router.repository.database import Database
from router.repository.heartbeat import Heartbeat
from router.serve import serve
from router.workers.pool import Workers
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile

LEASE = timedelta(seconds=2)


@pytest.fixture
async def store(tmp_path: Path, incoming: Profile, monkeypatch: pytest.MonkeyPatch) -> ProfileStore:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "all.toml").write_text(incoming(poll=1))
    return await ProfileStore.open(tmp_path)


async def test_a_follower_that_ends_by_a_bug_is_told_and_starts_again_and_others_go_on(
    crm: Crm,
    database: str,
    store: ProfileStore,
    dovecot: Dovecot,
    mailbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, follow = f"broken-{mailbox}", Follower._follow
    breaking = asyncio.Event()
    breaking.set()

    async def follow_or_break(self: Follower, *arguments: object) -> None:
        if self.owner is not None and self.owner.mailbox == broken and breaking.is_set():
            raise ZeroDivisionError("private mail")
        await follow(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Follower, "_follow", follow_or_break)
    monkeypatch.setattr(supervise, "LONGEST_PAUSE", 2.0)
    await crm.owner(mailbox, "all")
    await crm.owner(broken, "all")
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        fault = "SELECT fault FROM router.source WHERE mailbox = $1 AND next_try_at > fault_since"
        words = "a bug of the router's own: ZeroDivisionError in follow_or_break, line "
        await crm.wait_for(True, f"SELECT starts_with(({fault}), $2)", broken, words)
        await crm.wait_for_sources(1)
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "one"))
        await crm.wait_for_emails(1)
        # It stays the process's own meanwhile, and is not taken anew at each look.
        assert await crm.admin.fetchval("SELECT epoch FROM router.source WHERE mailbox = $1", broken) == 1
        breaking.clear()
        await crm.wait_for_sources(2)
        dovecot.deliver(broken, letter("karl@kunde.test", broken, "two"))
        await crm.wait_for_emails(2)
        stop.set()
        await serving


async def test_a_database_that_goes_away_just_when_the_router_starts_is_waited_for(
    crm: Crm, database: str, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, tries = Heartbeat.begin, asyncio.Queue[int]()

    async def away_at_first(self: Heartbeat) -> None:
        tries.put_nowait(tries.qsize())
        if tries.qsize() <= 2:
            raise DatabaseAway("connection was closed in the middle of operation")
        await begin(self)

    monkeypatch.setattr(Heartbeat, "begin", away_at_first)
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        await crm.wait_for(1, "SELECT count(*) FROM router.process")
        stop.set()
        await serving


async def test_a_router_that_waits_for_its_database_can_be_stopped(
    database: str, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, stop = asyncio.Event(), asyncio.Event()

    async def away(_: Heartbeat) -> None:
        tried.set()
        raise DatabaseAway("nobody answers")

    monkeypatch.setattr(Heartbeat, "begin", away)
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        await tried.wait()
        stop.set()
        await asyncio.wait_for(serving, 10)


async def test_a_part_of_the_process_that_ends_by_a_bug_is_told_in_its_row_and_starts_again(
    crm: Crm,
    database: str,
    store: ProfileStore,
    dovecot: Dovecot,
    mailbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look, failures = MailboxAssignment._look, [ZeroDivisionError("private mail")]

    async def look_or_break(self: MailboxAssignment) -> None:
        if failures:
            raise failures.pop()
        await look(self)

    monkeypatch.setattr(MailboxAssignment, "_look", look_or_break)
    await crm.owner(mailbox, "all")
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        words = "a bug of the router's own: ZeroDivisionError in look_or_break, line "
        told = "SELECT starts_with(faults #>> '{mailboxes,fault}', $1) FROM router.process"
        await crm.wait_for(True, told, words)
        await crm.wait_for_sources(1)
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "one"))
        await crm.wait_for_emails(1)
        await crm.wait_for(None, "SELECT faults -> 'mailboxes' FROM router.process")
        stop.set()
        await serving


async def test_a_process_is_heard_and_works_whatever_keeps_it_from_telling_what_it_serves(
    crm: Crm, database: str, store: ProfileStore, mailbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = asyncio.Event()

    async def note_profiles(*_: object) -> None:
        telling.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(processes, "note_profiles", note_profiles)
    await crm.owner(mailbox, "all")
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        await asyncio.wait_for(telling.wait(), 20)
        await crm.wait_for_sources(1)
        await crm.wait_for(True, "SELECT seen_at > started_at + $1 FROM router.process", 2 * LEASE)
        stop.set()
        await serving


async def test_a_heartbeat_that_ends_by_a_bug_starts_again_within_the_lease(
    crm: Crm, database: str, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, beats = processes.beat, 0

    async def beat_or_break(pool: Database, process_id: UUID) -> None:
        nonlocal beats
        beats += 1
        if 1 < beats < 8:
            raise ZeroDivisionError
        await beat(pool, process_id)

    monkeypatch.setattr(processes, "beat", beat_or_break)
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        # With pauses as those of other jobs it would take half a minute, and a beat in between is not waited for.
        await crm.wait_for(True, "SELECT seen_at > started_at FROM router.process", timeout=15)
        stop.set()
        await serving


@pytest.mark.parametrize("late", [True, False], ids=["late", "in time"])
async def test_a_process_whose_sender_has_not_ended_leaves_what_it_holds_to_the_lease(
    crm: Crm, database: str, store: ProfileStore, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, runs = asyncio.Event(), asyncio.Event()

    async def run(_self: Sender, stop: asyncio.Event, _grace: float) -> None:
        runs.set()
        try:
            await stop.wait()
            await asyncio.get_running_loop().create_future()
        finally:
            if late:
                await may_end.wait()

    monkeypatch.setattr(Sender, "run", run)
    monkeypatch.setattr("router.serve._GRACE", 0.5)
    monkeypatch.setattr("router.serve._RECORDING", 0.5)
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        await asyncio.wait_for(runs.wait(), 20)
        stop.set()
        await serving
        assert await crm.admin.fetchval("SELECT count(*) FROM router.process") == late
        may_end.set()


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("private mail"), asyncio.CancelledError()], ids=["bug", "canceled"]
)
async def test_a_bug_in_the_look_at_all_mailboxes_ends_none_that_is_followed(
    crm: Crm,
    database: str,
    tmp_path: Path,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    look, breaking = MailboxAssignment._look, asyncio.Event()

    async def look_or_break(self: MailboxAssignment) -> None:
        if breaking.is_set():
            raise error
        await look(self)

    monkeypatch.setattr(MailboxAssignment, "_look", look_or_break)
    monkeypatch.setattr(supervise, "LONGEST_PAUSE", 2.0)
    await crm.owner(mailbox, "all")
    stop = asyncio.Event()
    async with (
        Proxy(dovecot.imap) as proxy,
        Database(database, patience=10) as ours,
        Workers(read, limit=10, size=1) as parsers,
    ):
        for name, value in SECRETS.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "all.toml").write_text(incoming(host="127.0.0.1", port=proxy.port, security="none"))
        store = await ProfileStore.open(tmp_path)
        serving = asyncio.create_task(serve(ours, parsers, store, LEASE, stop))
        await crm.wait_for_sources(1)
        fault = "SELECT faults #>> '{mailboxes,fault}' IS NOT NULL FROM router.process"
        for number in (1, 2):
            breaking.set()
            await crm.wait_for(True, fault)
            dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, f"letter {number}"))
            await crm.wait_for_emails(number)
            if number == 1:
                breaking.clear()
                await crm.wait_for(False, fault)
        assert proxy.connections == 1
        # Told to end while the look waits to be tried again, it leaves no follower behind.
        stop.set()
        await serving
        async with asyncio.timeout(20):
            while proxy.open_now:
                await asyncio.sleep(0.01)
