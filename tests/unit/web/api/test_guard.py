"""What stands before every request to the API: how long one may take."""

import asyncio
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from router.operations.backing import Backing
from router.operations.staff_tokens import StaffToken
from router.profile import Profiles
from router.web.api import guard
from router.web.api.guard import STREAM, Guard


async def asked(media_type: str | None) -> list[MutableMapping[str, Any]]:
    """Ask, without a token, an application whose answer never ends, or (None) never begins; what was sent."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        if media_type is not None:
            headers = [(b"content-type", f"{media_type}; charset=utf-8".encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        await asyncio.Event().wait()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": guard._PUBLIC, "headers": []}
    await Guard(app, Backing(lambda: Profiles((), ())))(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("limit", "media_type", "status"),
    [("_PATIENCE", None, 503), ("_PATIENCE", "application/json", 200), ("_STREAM_PATIENCE", STREAM, 200)],
)
async def test_every_answer_ends(
    monkeypatch: pytest.MonkeyPatch, limit: str, media_type: str | None, status: int
) -> None:
    monkeypatch.setattr(guard, "_PATIENCE", 600)
    monkeypatch.setattr(guard, "_STREAM_PATIENCE", 600)
    monkeypatch.setattr(guard, limit, 0)
    async with asyncio.timeout(20):
        sent = await asked(media_type)
    assert [one["status"] for one in sent if one["type"] == "http.response.start"] == [status]


async def test_a_token_whose_large_requests_are_slow_takes_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    served: asyncio.Queue[str] = asyncio.Queue()
    ends = asyncio.Event()

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        served.put_nowait(scope["state"]["staff"].name)
        await ends.wait()

    async def recognize(_: Backing, headers: Headers) -> StaffToken:
        now = datetime.now(UTC)
        return StaffToken(headers["authorization"], (), now, now, None, None, True)

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError

    async def send(_: MutableMapping[str, Any]) -> None:
        raise AssertionError

    monkeypatch.setattr(guard, "recognize", recognize)
    guarded = Guard(app, Backing(lambda: Profiles((), ())))

    def ask(name: str) -> asyncio.Task[None]:
        headers = [(b"authorization", name.encode()), (b"content-length", b"2000000")]
        scope = {"type": "http", "method": "POST", "path": "/emails", "headers": headers}
        return asyncio.create_task(guarded(scope, receive, send))

    async with asyncio.timeout(20):
        asking = [ask("slow"), ask("slow"), ask("slow"), ask("other")]
        assert {await served.get(), await served.get()} == {"slow", "other"}
        ends.set()
        await asyncio.gather(*asking)
    assert [served.get_nowait(), served.get_nowait()] == ["slow", "slow"]
