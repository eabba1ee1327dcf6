"""A stream of events gives its place back, however it ends."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from router.operations.events import BEGINNING, Event
from router.web.api.events import Stream


@pytest.mark.parametrize("ends", ["at once", "while it waits", "while it is written to"])
async def test_the_place_is_free_when_the_client_is_gone(ends: str) -> None:
    free, begun, gone = False, asyncio.Event(), asyncio.Event()

    async def follow() -> AsyncGenerator[Sequence[Event], None]:
        nonlocal free
        try:
            yield ()
            if ends == "while it waits":
                begun.set()
                await asyncio.Event().wait()
            yield [Event(BEGINNING, datetime.now(UTC), "sent", None, {})]
        finally:
            free = True

    async def valid() -> bool:
        return True

    async def receive() -> MutableMapping[str, Any]:
        if ends != "at once":
            await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if ends == "while it is written to" and b"sent" in message.get("body", b""):
            begun.set()
            await gone.wait()

    following = follow()  # held here, so that nothing is freed by being collected
    await anext(following)
    async with asyncio.timeout(20):
        await Stream(following, valid)({"type": "http"}, receive, send)
    assert free
