"""Stopping: a message that is being accepted gets its answer, all others stay with the mail server."""

import asyncio

import pytest

from tests.conformance.listeners.conftest import Serve
from tests.conformance.listeners.ways import BOB, Intake, Served, every_way

GOING = b"421 4.3.2 Going down, please come back later\r\n"


def deliver(served: Served) -> bytes:
    """Deliver, and return all that is said after the content until the connection ends."""
    with served.client() as client:
        client.envelope(BOB)
        client.write(b"hello\r\n.\r\n")
        return client.rest()


@every_way
async def test_stopping_lets_a_message_finish_and_sends_the_others_away(intake: Intake, serve: Serve) -> None:
    async with serve() as served:
        idle = await asyncio.to_thread(served.client)
        busy = await asyncio.to_thread(served.client)
        await asyncio.to_thread(busy.envelope, BOB)
        busy.write(b"half of it")
        intake.open.clear()
        delivery = asyncio.create_task(asyncio.to_thread(deliver, served))
        await asyncio.wait_for(intake.asked.wait(), 20)
        served.task.cancel()
        for client in (idle, busy):
            assert await asyncio.to_thread(client.rest) == GOING
            client.__exit__(None, None, None)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(served.client)
        assert not delivery.done()
        intake.open.set()
        assert await delivery == b"250 2.0.0 taken\r\n" + GOING
    assert len(intake.taken) == 1


@every_way
async def test_a_message_that_is_not_safe_in_time_gets_no_250(
    intake: Intake, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transports._listener.listener.GRACE", 0.05)
    intake.open.clear()
    async with serve() as served:
        delivery = asyncio.create_task(asyncio.to_thread(deliver, served))
        await asyncio.wait_for(intake.asked.wait(), 20)
        served.task.cancel()
        assert await delivery == b""
    assert intake.taken == []
