"""Mailboxes that take slots at the connections a server grants, and wait after a failure."""

import asyncio

from router.incoming.turns import Pauses, Slots
from transports.errors import Temporary, Unauthorized


async def test_connections_go_round_in_the_order_of_asking() -> None:
    slots = Slots(2)
    order: list[int] = []
    leave = [asyncio.Event() for _ in range(5)]

    async def work(number: int) -> None:
        async with slots:
            order.append(number)
            await leave[number].wait()

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    for number in range(5):
        while number not in order:
            await asyncio.sleep(0)
        assert slots.wanted == (len(order) < 5)
        leave[number].set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert not slots.wanted


async def test_who_holds_a_connection_hears_when_another_asks_and_no_more_when_that_one_gave_up() -> None:
    slots = Slots(1)
    unheard = asyncio.create_task(slots.until_wanted())
    await asyncio.sleep(0)
    async with slots:
        assert not slots.wanted
        await asyncio.sleep(0)
        assert not unheard.done()  # there was one free
        unheard.cancel()
        heard = asyncio.create_task(slots.until_wanted())
        other = asyncio.create_task(slots.__aenter__())
        await heard
        assert slots.wanted
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert not slots.wanted
    async with asyncio.timeout(1), slots:
        pass


def test_a_refused_login_is_tried_seldom() -> None:
    pauses = Pauses()
    assert pauses.next(Temporary("later")) <= 0.5
    refused = [pauses.next(Unauthorized("no")) for _ in range(8)]
    assert 30 <= refused[0] <= 60
    assert 450 <= refused[-1] <= 900
    assert pauses.next(Temporary("later", 20)) >= 20
    pauses.reset()
    assert pauses.next(Unauthorized("no")) <= 60


def test_no_server_makes_us_wait_longer_than_an_hour() -> None:
    assert Pauses().next(Temporary("backoff time: 999999999999 milliseconds", 1e9)) == 3600
    assert Pauses().next(Temporary("busy", 90)) == 90
