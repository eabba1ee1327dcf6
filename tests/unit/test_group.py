import asyncio
from collections.abc import Sequence

import pytest

from router.group import Group


async def test_one_alone_is_flushed_alone_and_what_gathers_meanwhile_goes_together() -> None:
    flushed: list[list[int]] = []
    go_on = asyncio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        flushed.append(list(items))
        await go_on.wait()
        return [item * 10 for item in items]

    group = Group(flush, at_most=3)
    first = asyncio.create_task(group.add(1))
    while not flushed:
        await asyncio.sleep(0)
    others = [asyncio.create_task(group.add(number)) for number in (2, 3, 4, 5)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30, 40, 50]
    assert flushed == [[1], [2, 3, 4], [5]]


async def test_with_a_pause_the_first_waits_for_those_that_are_about_to_come() -> None:
    flushed: list[list[int]] = []
    more = asyncio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        flushed.append(list(items))
        return list(items)

    def pause() -> float:
        more.set()
        return 0.05 if len(group) < 3 else 0.0

    group = Group(flush, pause=pause)
    first = asyncio.create_task(group.add(1))
    await more.wait()
    assert list(await asyncio.gather(first, group.add(2), group.add(3))) == [1, 2, 3]
    assert flushed == [[1, 2, 3]]


async def test_an_error_goes_to_those_of_its_flush_and_the_next_flush_goes_on() -> None:
    async def flush(items: Sequence[int]) -> list[int]:
        if 1 in items:
            raise ValueError("no")
        return list(items)

    group = Group(flush)
    with pytest.raises(ValueError, match="no"):
        await group.add(1)
    assert await group.add(2) == 2


async def test_canceling_one_that_waits_cancels_nobody_else() -> None:
    go_on = asyncio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        await go_on.wait()
        return list(items)

    group = Group(flush)
    first, second = asyncio.create_task(group.add(1)), asyncio.create_task(group.add(2))
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
