"""A token server that answers as a test says, on loopback."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Form = Mapping[str, str]
Answering = Callable[[Form], Awaitable[web.StreamResponse]]


class TokenServer:
    """Gives a new token for each request, each lasting `lasts` seconds; `answer` is asked instead, where it is set.

    `forms` are the requests that came, `given` the access tokens. With `rotates`, each request gives a refresh token,
    too. Requests wait for `gate`. `on_device` answers who begins a login on another device.
    """

    def __init__(self) -> None:
        self.url = ""
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.given: list[str] = []
        self.lasts: Any = 3600
        self.rotates = False
        self.answer: Answering | None = None
        self.document: dict[str, Any] | None = None
        self.on_device: dict[str, Any] = {
            "device_code": "the-device-code",
            "user_code": "ABCD-EFGH",
            "verification_uri": "https://login.example.com/device",
            "expires_in": 60,
        }
        self.gate = asyncio.Event()
        self.gate.set()
        self._numbers = itertools.count(1)

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        self.headers.append(dict(request.headers))
        await self.gate.wait()
        if self.answer is not None:
            return await self.answer(form)
        return self.give()

    def give(self, **more: Any) -> web.Response:
        number = next(self._numbers)
        self.given.append(f"access-token-{number}")
        told = {"access_token": self.given[-1], "token_type": "Bearer", "expires_in": self.lasts, **more}
        if self.rotates:
            told["refresh_token"] = f"refresh-token-{number}"
        return web.json_response(told)

    async def device(self, request: web.Request) -> web.StreamResponse:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        return web.json_response(self.on_device)

    async def discover(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.document) if self.document is not None else web.Response(status=404)


def error(name: str, description: str = "", status: int = 400, **headers: str) -> Answering:
    """Answer each request with an error of RFC 6749 §5.2."""

    async def answer(_: Form) -> web.StreamResponse:
        return web.json_response({"error": name, "error_description": description}, status=status, headers=headers)

    return answer


def raw(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Answering:
    """Answer each request with these bytes."""

    async def answer(_: Form) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, status=status, headers=headers)

    return answer


@asynccontextmanager
async def token_server(ssl_context: Any = None) -> AsyncIterator[TokenServer]:
    server = TokenServer()
    app = web.Application()
    app.router.add_post("/token", server.token)
    app.router.add_post("/device", server.device)
    app.router.add_get("/.well-known/openid-configuration", server.discover)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
    await site.start()
    [address] = runner.addresses
    server.url = f"{'https' if ssl_context else 'http'}://localhost:{address[1]}/token"
    try:
        yield server
    finally:
        server.gate.set()
        await runner.cleanup()
