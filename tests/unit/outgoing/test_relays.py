"""The relays of a process while the profiles change, and the state that all processes share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, Self
from uuid import UUID, uuid4

import pytest

from router.outgoing.relays import RelayPool, Relays
from router.repository.database import Database
from router.repository.outgoing import relays as repository
from router.repository.outgoing.claim import RelayFault
from tests.support.crm import Crm
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import profiles, relay
from transports.base import Envelope
from transports.errors import Unauthorized, Unreachable
from transports.smtp import OUTGOING
from transports.smtp.relay import SmtpRelay

ULLA = "ulla@example.com"
FAULTS = "SELECT profile, fault FROM router.relay ORDER BY profile"
LEASE = timedelta(seconds=5)
NOW = RelayFault("paused", "no such host", 0)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
async def serving() -> dict[str, list[RelayPool]]:
    """The relays that are served, by the names of their profiles, in their order."""
    return {}


@pytest.fixture
async def relays(pool: Database, serving: dict[str, list[RelayPool]]) -> AsyncIterator[Relays]:
    async def serve(one: RelayPool) -> None:
        serving.setdefault(one.profile.name, []).append(one)
        while not one.retired or one.under_way:
            one.wake.clear()
            await one.wake.wait()

    made = Relays(pool, uuid4(), LEASE, serve)
    yield made
    await made.close()


async def served(serving: dict[str, list[RelayPool]], name: str = "relay", number: int = 0) -> RelayPool:
    async with asyncio.timeout(5):
        while len(serving.get(name, ())) <= number:
            await asyncio.sleep(0)
    return serving[name][number]


async def faults(database: Database) -> dict[str, str]:
    async with database.connection() as connection:
        return {row["profile"]: row["fault"] for row in await connection.fetch(FAULTS)}


async def make_due(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE router.relay SET next_try_at = now()")


async def hand_over(chosen: RelayPool) -> None:
    async def begin() -> None: ...

    await chosen.send(Envelope(ULLA, ("ann@theirs.test",), b"Subject: hello\r\n\r\nhello\r\n"), begin)


async def test_a_relay_whose_settings_stay_keeps_its_connections(
    relays: Relays, serving: dict[str, list[RelayPool]]
) -> None:
    async with ScriptedSmtp() as server:
        before = relay(server.port)
        assert relays.use(profiles(before)) == ["relay"]
        chosen = await served(serving)
        await hand_over(chosen)
        # Where it is written has changed, whom it serves, and how often it is tried; not what is connected to.
        after = replace(before, file="other.toml", line=7, senders=(ULLA, "otto@example.com"), max_attempts=2)
        assert relays.use(profiles(after)) == []
        assert relays.use(profiles(after), [after.key]) == ["relay"]
        assert not chosen.retired
        assert chosen.profile is after
        await hand_over(chosen)
        await relays.close()
        assert len(server.commands) == 1
        assert len(server.messages) == 2


async def test_a_relay_is_closed_when_the_last_email_on_it_has_ended(
    relays: Relays, serving: dict[str, list[RelayPool]]
) -> None:
    async with ScriptedSmtp() as server:
        relays.use(profiles(relay(server.port, connections=2)))
        held = await served(serving)
        await hand_over(held)
        release, attempt_id = asyncio.Event(), uuid4()
        held.under_way[attempt_id] = task = asyncio.create_task(release.wait())  # type: ignore[assignment]
        relays.use(profiles(relay(server.port, connections=3)))
        assert await served(serving, number=1) is not held
        assert attempt_id in relays.under_way  # it is not taken for lost
        for _ in range(3):
            await hand_over(held)
        assert len(server.commands) == 1
        release.set()
        await task
        del held.under_way[attempt_id]
        held.wake.set()
        await asyncio.wait_for(server.ended[0].wait(), 5)
        assert server.commands[0][-1] == "QUIT"


async def test_what_was_wrong_with_a_relay_is_forgotten_with_it(
    relays: Relays, pool: Database, serving: dict[str, list[RelayPool]]
) -> None:
    relays.use(profiles(relay(1, "gone"), relay(3, "same", "*@c.test")))
    for name in ("gone", "same"):
        await (await served(serving, name)).fails(Unreachable("no such host"))
    old = serving["gone"][0]
    assert (await faults(pool)).keys() == {"gone", "same"}
    relays.use(profiles(relay(3, "same", "*@c.test")))
    await repository.forget_others(pool, UUID(int=1), LEASE, relays.names)
    assert (await faults(pool)).keys() == {"same"}
    # What ends at the old one says nothing of another that may have its name.
    await old.fails(Unreachable("no such host"))
    assert (await faults(pool)).keys() == {"same"}


async def test_connections_that_one_fault_ends_are_one_failure(
    crm: Crm, relays: Relays, serving: dict[str, list[RelayPool]]
) -> None:
    async with ScriptedSmtp() as server:
        relays.use(profiles(relay(server.port, connections=8)))
        chosen = await served(serving)
        for failures in (1, 2):
            await asyncio.gather(*(chosen.fails(Unreachable("the server closed it")) for _ in range(8)))
            assert await crm.admin.fetchval("SELECT failures FROM router.relay") == failures
            # It lets us in, and takes no email.
            await crm.admin.execute("UPDATE router.relay SET next_try_at = now()")
            await chosen.wait_out(NOW)
            assert await crm.admin.fetchval("SELECT count(*) FROM router.relay") == 0
        await relays.close()


class Unopenable(SmtpRelay):
    """Cannot be opened as often as `failures` says."""

    failures: ClassVar[list[Exception]] = []

    async def __aenter__(self) -> Self:
        if self.failures:
            raise self.failures.pop()
        return await super().__aenter__()


async def test_a_relay_that_cannot_be_opened_says_so_and_is_opened_when_it_can_be(
    relays: Relays, pool: Database, serving: dict[str, list[RelayPool]]
) -> None:
    async with ScriptedSmtp() as server:
        Unopenable.failures = [Unreachable("not yet"), Unreachable("not now")]
        good = relay(server.port, "good", "*@b.test")
        relays.use(profiles(good, replace(relay(server.port, "bad"), kind=replace(OUTGOING, open=Unopenable))))
        await hand_over(await served(serving, "good"))
        bad = await served(serving, "bad")
        assert await faults(pool) == {"bad": "not now"}
        with pytest.raises(Unreachable, match="not yet"):
            await hand_over(bad)
        await hand_over(bad)
        await relays.close()
        assert len(server.messages) == 2


async def test_a_relay_whose_first_opening_breaks_by_a_bug_is_used_and_closed_as_any_other(
    relays: Relays, serving: dict[str, list[RelayPool]]
) -> None:
    async with ScriptedSmtp() as server:
        Unopenable.failures = [ZeroDivisionError()]
        relays.use(profiles(replace(relay(server.port), kind=replace(OUTGOING, open=Unopenable))))
        await hand_over(await served(serving))
        assert not Unopenable.failures
        relays.use(profiles())
        await asyncio.wait_for(server.ended[0].wait(), 5)
        assert server.commands[0][-1] == "QUIT"


# --- The state that is shared ----------------------------------------------------------------------------------------


@asynccontextmanager
async def two_processes(pool: Database, port: int) -> AsyncIterator[tuple[RelayPool, RelayPool]]:
    ids = uuid4(), uuid4()
    async with pool.connection() as connection:
        for process_id in ids:
            await connection.execute("INSERT INTO router.process (id, host, pid) VALUES ($1, 'here', 1)", process_id)
    one, other = (RelayPool(relay(port), pool, process_id, LEASE) for process_id in ids)

    async def until_retired(opened: RelayPool) -> None:
        while not opened.retired:
            opened.wake.clear()
            await opened.wake.wait()

    running = [asyncio.create_task(each.run(until_retired)) for each in (one, other)]
    try:
        yield one, other
    finally:
        one.retire()
        other.retire()
        await asyncio.gather(*running)


async def test_a_fault_that_many_meet_is_one_row_and_only_a_try_that_works_takes_it_away(pool: Database) -> None:
    script = {"greeting": ["421 4.3.2 not now", "220 relay.test"]}
    async with ScriptedSmtp(script) as server, two_processes(pool, server.port) as (one, other):
        for each in (one, other, one, other):
            await each.fails(Unreachable("no such host"))
        async with pool.connection() as connection:
            row = await connection.fetchrow("SELECT *, next_try_at - now() AS pause FROM router.relay")
        assert row is not None
        assert (row["state"], row["fault"], row["failures"], row["probed_by"]) == ("paused", "no such host", 1, None)
        assert row["pause"] <= timedelta(seconds=1)
        # What was under way since before says nothing, whatever becomes of it.
        other.works()
        assert await faults(pool) == {"relay": "no such host"}
        # Only one tries at a time; the next pause is longer, and the words are the new ones.
        await make_due(pool)
        await asyncio.gather(one.wait_out(NOW), other.wait_out(NOW))
        assert len(server.commands) == 1
        [words] = (await faults(pool)).values()
        assert "not now" in words
        await other.wait_out(RelayFault("paused", words, 1.0))
        await one.wait_out(NOW)  # it is not due, whatever one thinks
        assert len(server.commands) == 1
        await make_due(pool)
        await other.wait_out(NOW)
        assert await faults(pool) == {}
        assert (one.proven, other.proven) == (False, True)
        assert other.health.fault is None


async def test_a_try_of_a_process_that_died_is_another_ones(pool: Database) -> None:
    async with ScriptedSmtp() as server, two_processes(pool, server.port) as (one, other):
        await one.fails(Unreachable("no such host"))
        await make_due(pool)
        assert await repository.take_probe(pool, "relay", one._process_id, LEASE)
        assert not await repository.take_probe(pool, "relay", other._process_id, LEASE)
        async with pool.connection() as connection:
            await connection.execute(
                "UPDATE router.process SET seen_at = now() - interval '1 minute' WHERE id = $1", one._process_id
            )
        await other.wait_out(NOW)
        assert await faults(pool) == {}


async def test_o14_a_refused_login_is_repeated_less_often_and_at_once_when_the_profile_changes(
    pool: Database,
) -> None:
    pauses = []
    async with two_processes(pool, 1) as (one, _), pool.connection() as connection:
        for _ in range(12):
            await connection.execute("UPDATE router.relay SET probed_by = $1", one._process_id)
            await one.fails(Unauthorized("535 no"))
            pauses.append(
                await connection.fetchval("SELECT extract(epoch FROM next_try_at - now())::float8 FROM router.relay")
            )
        assert 29 <= pauses[0] <= 60
        assert 1799 <= pauses[-1] <= 3600
        assert await connection.fetchval("SELECT state FROM router.relay") == "login_refused"
        await repository.try_now(pool, ["relay"])
        assert await connection.fetchval("SELECT next_try_at <= now() FROM router.relay")
        # So long are the words of a relay that is a joker.
        await connection.execute("UPDATE router.relay SET probed_by = $1", one._process_id)
        await one.fails(Unreachable("x" * 100_000))
        assert await connection.fetchval("SELECT length(fault) FROM router.relay") == 1000
