"""Room for incoming messages: shared by all, in the order of asking, and never waited for without end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from router.incoming.budget import Budget, Held


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_there_is_never_more_than_the_limit_however_many_read() -> None:
    budget = Budget(100)
    most = 0

    async def read() -> None:
        nonlocal most
        for _ in range(3):
            held = await budget.take(30)
            most = max(most, budget.used)
            await asyncio.sleep(0)
            held.release()

    await asyncio.gather(*(read() for _ in range(100)))
    assert most == 90
    assert budget.used == 0


async def test_one_portion_ahead_is_no_deadlock() -> None:
    """Each holds what it promotes while it asks for its next: what is held is released without the next."""
    budget = Budget(100)

    async def read() -> None:
        held = await budget.take(50)
        for _ in range(5):
            coming = asyncio.ensure_future(budget.take(50))
            await settled()
            held.release()
            held = await coming
        held.release()

    async with asyncio.timeout(20):
        await asyncio.gather(*(read() for _ in range(20)))
    assert budget.used == 0


async def test_a_larger_message_passes_alone_and_is_not_overtaken() -> None:
    budget = Budget(100)
    first = await budget.take(60)
    large = asyncio.ensure_future(budget.take(1000))
    small = asyncio.ensure_future(budget.take(10))
    await settled()
    assert not large.done()
    assert not small.done()
    first.release()
    await settled()
    assert large.done()
    assert not small.done()
    large.result().release()
    (await small).release()
    assert budget.used == 0


@pytest.mark.parametrize("released_first", [False, True])
async def test_who_is_canceled_while_waiting_holds_nothing(released_first: bool) -> None:
    budget = Budget(100)
    first = await budget.take(100)
    waiting = [asyncio.ensure_future(budget.take(100)) for _ in range(3)]
    await settled()
    if released_first:
        first.release()
    waiting[0].cancel()
    if not released_first:
        first.release()
    held = await waiting[1]
    assert waiting[0].cancelled()
    waiting[2].cancel()
    await settled()
    held.release()
    assert budget.used == 0
    await budget.take(100)


async def test_nothing_takes_no_room_and_does_not_wait() -> None:
    budget = Budget(100)
    await budget.take(100)
    asyncio.ensure_future(budget.take(1)).add_done_callback(lambda _: None)
    await settled()
    async with asyncio.timeout(5):
        await budget.take(0)


async def test_what_was_announced_too_small_counts_as_it_is() -> None:
    budget = Budget(100)
    held = await budget.take(1)
    held.resize(500)
    waiting = asyncio.ensure_future(budget.take(1))
    await settled()
    assert not waiting.done()
    held.resize(99)
    await waiting


async def test_listeners_do_not_wait_and_leave_half_to_readers() -> None:
    budget = Budget(100)
    handed = [budget.count(1000) for _ in range(3)]
    held = await budget.take(50)
    waiting = asyncio.ensure_future(budget.take(50))
    await settled()
    assert not waiting.done()
    for one in handed:
        one.release()
        one.release()
    await waiting
    held.release()


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


async def test_who_holds_room_for_a_server_that_hangs_gives_way_to_others_but_only_to_others() -> None:
    budget = Budget(100)
    held = await budget.take(100)
    fetching = asyncio.ensure_future(budget.unless_wanted(hang(), 0.01))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.shield(fetching)
    assert not fetching.done()
    waiting = asyncio.ensure_future(budget.take(100))
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await fetching
    held.release()
    assert isinstance(await waiting, Held)


@pytest.mark.parametrize("work", [lambda: asyncio.sleep(0, "done"), lambda: asyncio.sleep(0.05, "done")])
async def test_what_ends_in_time_is_answered(work: Callable[[], Awaitable[str]]) -> None:
    assert await Budget().unless_wanted(work(), 0.01) == "done"
