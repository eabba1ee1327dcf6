"""A process is heard although connections die in silence, as behind a firewall that forgets, or in a failover."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from router.decide import decide_batch
from router.model import Copy, Decision, Facts
from router.presence import Presence
from router.profile.store import ProfileStore
from router.repository import connect
from router.repository.database import Database
from router.repository.heartbeat import Heartbeat
from router.repository.incoming import inbox
from router.repository.incoming.inbox import Decide
from router.repository.incoming.trial import Trial, try_out
from tests.servers.proxy import HOST, Proxy
from tests.support import build
from tests.support.crm import Crm
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

PROCESS = UUID(int=1)
LEASE = timedelta(seconds=5)
SEEN_AT = "SELECT seen_at FROM router.process"


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    """What is between the router and its database."""
    [folder] = parse_qs(urlsplit(database).query)["host"]
    async with Proxy(f"{folder}/.s.PGSQL.5432") as running:
        yield running


def through(proxy: Proxy, database: str) -> str:
    return f"postgresql://email_router@{HOST}:{proxy.port}{urlsplit(database).path}"


@asynccontextmanager
async def beating(dsn: str) -> AsyncIterator[Heartbeat]:
    async with Database(dsn) as pool:
        heartbeat = Heartbeat(pool, PROCESS, LEASE)
        await heartbeat.begin()
        task = asyncio.create_task(Presence(pool, heartbeat, ProfileStore(Path()), PROCESS).beat())
        try:
            yield heartbeat
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_connection_that_dies_in_silence_leaves_the_process_alive(
    crm: Crm, database: str, proxy: Proxy
) -> None:
    async with beating(through(proxy, database)) as heartbeat:
        await crm.wait_for_beats()
        proxy.freeze()
        before = await crm.admin.fetchval(SEEN_AT)
        await crm.wait_for_beats(1)
        assert await crm.admin.fetchval(SEEN_AT) - before < LEASE
        assert heartbeat.is_heard()
        await crm.wait_for_beats()


async def test_a_database_that_is_slow_hears_the_process_all_the_same(crm: Crm, database: str) -> None:
    async with beating(database) as heartbeat:
        longer_than_a_beat = 1.5 * heartbeat.pause
        await crm.admin.execute(
            f"""
            CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep({longer_than_a_beat}); RETURN NEW; END $$;
            CREATE TRIGGER slowly BEFORE UPDATE ON router.process FOR EACH ROW EXECUTE FUNCTION slowly();
            """
        )
        await crm.wait_for_beats(3)


async def test_a_process_that_is_not_heard_knows_it(crm: Crm, database: str, proxy: Proxy) -> None:
    async with beating(through(proxy, database)) as heartbeat:
        await crm.wait_for_beats(1)
        assert heartbeat.is_heard()
        proxy.stall()
        await crm.wait_for(True, "SELECT seen_at < clock_timestamp() - $1::interval FROM router.process", LEASE)
        assert not heartbeat.is_heard()
        proxy.resume()
        await crm.wait_for_beats(1)
        async with asyncio.timeout(20):
            while not heartbeat.is_heard():
                await asyncio.sleep(0.02)


async def test_the_kernel_notices_on_our_side_too_that_the_server_is_silent(
    database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_alive, ours = connect._keep_alive, []

    def observed(connected: socket.socket) -> None:
        keep_alive(connected)
        ours.append(
            (
                connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            )
        )

    monkeypatch.setattr(connect, "_keep_alive", observed)
    async with Database(through(proxy, database)) as pool:
        await pool.ping()
    assert ours == [(1, 10, 20_000)]


async def test_a_router_stops_in_order_though_its_database_says_nothing(
    crm: Crm, database: str, proxy: Proxy, new_router: NewRouter, incoming: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox)
    router = await new_router(incoming(), EMAIL_ROUTER_DATABASE_URL=through(proxy, database))
    await crm.wait_for_sources(1)
    proxy.freeze()
    await router.stop()


async def test_a_transaction_that_is_canceled_waits_for_no_answer(database: str, proxy: Proxy) -> None:
    async with Database(through(proxy, database)) as pool:
        inside = asyncio.Event()

        async def work() -> None:
            async with pool.transaction() as connection:
                await connection.execute("SELECT 1")
                inside.set()
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await inside.wait()
        proxy.freeze()
        working.cancel()
        # Without an answer to a ROLLBACK it would be the query's own limit, a minute, until it ends.
        done, _ = await asyncio.wait([working], timeout=20)
        assert done
        assert working.cancelled()


async def _try_out(pool: Database, copy: Copy, decide: Decide) -> None:
    await try_out(pool, Trial(copy), decide)


async def _rehearse(pool: Database, copy: Copy, decide: Decide) -> None:
    await inbox.rehearse(pool, [copy], decide, {})


@pytest.mark.parametrize("tries", [_try_out, _rehearse])
async def test_what_is_only_tried_and_is_canceled_waits_for_no_answer(
    crm: Crm,
    database: str,
    proxy: Proxy,
    mailbox: str,
    tries: Callable[[Database, Copy, Decide], Awaitable[None]],
) -> None:
    copy = build.copy(owner=await crm.owner(mailbox))
    loop, inside, released = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def decide(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
        loop.call_soon_threadsafe(inside.set)
        released.wait()
        return decide_batch(copies, facts)

    async with Database(through(proxy, database)) as pool:
        trying = asyncio.ensure_future(tries(pool, copy, decide))
        try:
            await inside.wait()
            proxy.freeze()
            trying.cancel()
            done, _ = await asyncio.wait([trying], timeout=20)
            assert done
            assert trying.cancelled()
        finally:
            released.set()
