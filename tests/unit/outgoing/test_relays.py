"""Which relay carries an email, while the profiles change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar, Self

import pytest

from router.outgoing.relays import NoRelay, RelayPool, Relays
from router.repository.database import Database
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import profiles, relay
from transports.base import Envelope
from transports.errors import Unreachable
from transports.smtp import OUTGOING
from transports.smtp.relay import SmtpRelay

ULLA = "ulla@example.com"
FAULTS = "SELECT profile, fault FROM router.relay ORDER BY profile"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
async def relays(pool: Database) -> AsyncIterator[Relays]:
    made = Relays(pool)
    yield made
    await made.close()


async def faults(database: Database) -> dict[str, str]:
    async with database.connection() as connection:
        return {row["profile"]: row["fault"] for row in await connection.fetch(FAULTS)}


async def hand_over(chosen: RelayPool) -> None:
    async def begin() -> None: ...

    await chosen.send(Envelope(ULLA, ("ann@theirs.test",), b"Subject: hello\r\n\r\nhello\r\n"), begin)


async def send_one(relays: Relays, mailbox: str = ULLA) -> None:
    async with relays.slot(mailbox) as chosen:
        await hand_over(chosen)


async def holder(relays: Relays, taken: asyncio.Queue[RelayPool], release: asyncio.Event) -> None:
    async with relays.slot(ULLA) as chosen:
        taken.put_nowait(chosen)
        await release.wait()


async def test_nobody_carries_what_no_profile_names(relays: Relays) -> None:
    assert relays.room == 0
    relays.use(profiles(relay(1, sender="*@example.org")))
    with pytest.raises(NoRelay, match=f"no outgoing profile has {ULLA} among its senders"):
        async with relays.slot(ULLA):
            pass


async def test_a_relay_whose_settings_stay_keeps_its_connections(relays: Relays) -> None:
    async with ScriptedSmtp() as server:
        before = relay(server.port)
        relays.use(profiles(before))
        await send_one(relays)
        # Where it is written has changed, whom it serves, and how often it is tried; not what is connected to.
        after = replace(before, file="other.toml", line=7, senders=(ULLA, "otto@example.com"), max_attempts=2)
        relays.use(profiles(after))
        await send_one(relays, "otto@example.com")
        async with relays.slot(ULLA) as chosen:
            assert chosen.profile is after
        await relays.close()
        assert len(server.commands) == 1
        assert len(server.messages) == 2


async def test_those_that_wait_for_a_slot_of_a_relay_that_has_gone_choose_again(relays: Relays) -> None:
    taken, release = asyncio.Queue[RelayPool](), asyncio.Event()
    relays.use(profiles(relay(1, connections=2)))
    tasks = [asyncio.create_task(holder(relays, taken, release)) for _ in range(7)]
    before = [await taken.get(), await taken.get()]
    relays.use(profiles(relay(2, connections=3)))
    after = [await taken.get() for _ in range(3)]
    assert {one.profile.settings.where for one in before} == {"127.0.0.1:1 in clear text"}
    assert {one.profile.settings.where for one in after} == {"127.0.0.1:2 in clear text"}
    assert taken.empty()  # two more wait for the new one
    relays.use(profiles())
    gone = await asyncio.wait_for(asyncio.gather(*tasks[5:], return_exceptions=True), 5)
    assert [type(one) for one in gone] == [NoRelay, NoRelay]
    release.set()
    await asyncio.gather(*tasks[:5])


async def test_a_relay_is_closed_when_the_last_email_on_it_has_ended(relays: Relays) -> None:
    taken, release = asyncio.Queue[RelayPool](), asyncio.Event()
    async with ScriptedSmtp() as server:
        relays.use(profiles(relay(server.port, connections=2)))
        await send_one(relays)
        task = asyncio.create_task(holder(relays, taken, release))
        held = await taken.get()
        relays.use(profiles())
        assert relays.room == 2  # what ends there takes nobody's place
        for _ in range(3):
            await hand_over(held)
        assert len(server.commands) == 1
        release.set()
        await task
        await asyncio.wait_for(server.ended[0].wait(), 5)
        assert server.commands[0][-1] == "QUIT"
        assert relays.room == 0


async def test_what_was_wrong_with_a_relay_is_forgotten_with_it(relays: Relays, pool: Database) -> None:
    async with ScriptedSmtp() as server:
        relays.use(profiles(relay(1, "gone"), relay(2, "changed", "*@b.test"), relay(3, "same", "*@c.test")))
        for mailbox in (ULLA, "otto@b.test", "karl@c.test"):
            async with relays.slot(mailbox) as chosen:
                assert await chosen.fails(Unreachable("no such host")) > 0
        assert (await faults(pool)).keys() == {"gone", "changed", "same"}
        async with relays.slot("otto@b.test") as old:
            relays.use(profiles(relay(server.port, "changed", "*@b.test"), relay(3, "same", "*@c.test")))
            await relays.forget_others()
            async with relays.slot("otto@b.test"):
                while (await faults(pool)).keys() != {"same"}:
                    await asyncio.sleep(0.01)
            # What ends at the old one says nothing of the one that has its name now.
            assert await old.fails(Unreachable("no such host")) == 0
            assert (await faults(pool)).keys() == {"same"}


class Unopenable(SmtpRelay):
    """Cannot be opened as often as `failures` says."""

    failures: ClassVar[list[Exception]] = []

    async def __aenter__(self) -> Self:
        if self.failures:
            raise self.failures.pop()
        return await super().__aenter__()


async def test_a_relay_that_cannot_be_opened_says_so_and_is_opened_when_it_can_be(
    relays: Relays, pool: Database
) -> None:
    async with ScriptedSmtp() as server:
        Unopenable.failures = [Unreachable("not yet"), Unreachable("not now")]
        good = relay(server.port, "good", "*@b.test")
        relays.use(profiles(good, replace(relay(server.port, "bad"), kind=replace(OUTGOING, open=Unopenable))))
        await send_one(relays, "otto@b.test")
        while await faults(pool) != {"bad": "not now"}:
            await asyncio.sleep(0.01)
        with pytest.raises(Unreachable, match="not yet"):
            await send_one(relays)
        await send_one(relays)
        await relays.close()
        assert len(server.messages) == 2


async def test_a_relay_whose_first_opening_breaks_by_a_bug_is_used_and_closed_as_any_other(relays: Relays) -> None:
    async with ScriptedSmtp() as server:
        Unopenable.failures = [ZeroDivisionError()]
        relays.use(profiles(replace(relay(server.port), kind=replace(OUTGOING, open=Unopenable))))
        while Unopenable.failures:
            await asyncio.sleep(0)
        room = relays.room
        await send_one(relays)
        relays.use(profiles())
        await asyncio.wait_for(server.ended[0].wait(), 5)
        assert server.commands[0][-1] == "QUIT"
        assert room == 2 * relay(1).settings.connections


async def test_all_that_was_wrong_since_a_relay_last_worked_is_over_when_it_is_tried_again(relays: Relays) -> None:
    bad = relay(1)
    relays.use(profiles(bad))
    async with relays.slot(ULLA) as chosen:
        for words in ("no such host", "who are you?", "no such host"):
            await chosen.fails(Unreachable(words))
        assert relays.use(profiles(bad), [bad.key]) == ["no such host", "who are you?"]
        assert relays.use(profiles(bad)) == []
        await chosen.works()
        assert relays.use(profiles(bad), [bad.key]) == []
