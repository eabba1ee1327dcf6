"""The document of the API, which needs no token."""

import asyncio
import json
import threading
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message

from router.operations.backing import Backing
from router.profile import Profiles
from router.web import api


async def read(made: FastAPI, root_path: str) -> Any:
    """Ask for it."""
    body = b""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal body
        body += message.get("body", b"")

    scope = {
        "type": "http", "method": "GET", "path": f"{root_path}/openapi.json", "root_path": root_path,
        "query_string": b"", "headers": [],
    }  # fmt: skip
    await made(scope, receive, send)
    return json.loads(body)


async def test_it_is_made_once_beside_the_loop_and_names_where_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for it, as often as they like, and it takes most of a second to make."""
    threads: list[int] = []
    make = api._document

    def document(made: FastAPI) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return make(made)

    monkeypatch.setattr(api, "_document", document)
    made = api.make_api(Backing(lambda: Profiles((), ())))
    here, *there = await asyncio.gather(*(read(made, path) for path in ("/api/v1", "/mail/api/v1", "/mail/api/v1")))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    assert here == made.openapi()
    for one in there:
        assert one == {**here, "servers": [{"url": "/mail/api/v1"}, {"url": "/api/v1"}]}
