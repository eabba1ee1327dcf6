"""The API of a real router, as a client uses it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol

import aiohttp
import pytest

from router.operations.staff_tokens import SCOPES
from tests.servers.ports import free_port
from tests.support.console import wait_for
from tests.support.crm import Crm
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import Capture, outgoing

EVERYTHING = tuple(SCOPES)


class Answered(NamedTuple):
    """What was answered; `json` is the document, and `content` what is none."""

    status: int
    headers: Mapping[str, str]
    json: Any
    content: bytes = b""


class Api:
    """A client with a token: `await api.get("/emails/…")`."""

    def __init__(self, router: RouterProcess, port: int, session: aiohttp.ClientSession, token: str) -> None:
        self.router = router
        self.port = port
        self.token = token
        self._session = session

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    async def get(self, path: str, **more: Any) -> Answered:
        """Ask for something; `params` are its query."""
        return await self.request("GET", path, **more)

    async def post(self, path: str, document: object = None, **more: Any) -> Answered:
        """Do something."""
        return await self.request("POST", path, json=document, **more)

    async def request(
        self, method: str, path: str, *, token: str | None = "", headers: Mapping[str, str] | None = None, **more: Any
    ) -> Answered:
        """Ask with this client's token, with another, or (None) with none."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token}"
        async with self._session.request(method, self.url + path, headers=sent, **more) as response:
            document = None
            if "json" in response.content_type:
                document = await response.json(content_type=None)
            return Answered(response.status, response.headers, document, await response.read())

    def stream(self, path: str, *, token: str = "", headers: Mapping[str, str] | None = None) -> Any:
        """Ask for what goes on: the context is aiohttp's response."""
        sent = {**(headers or {}), "Authorization": f"Bearer {token or self.token}"}
        return self._session.get(self.url + path, headers=sent, timeout=aiohttp.ClientTimeout(sock_read=30))

    async def token_of(self, name: str, *scopes: str) -> str:
        """Make another token."""
        status, printed = await self.router.ask(
            "staff", "token", name, *(part for scope in scopes for part in ("--scope", scope))
        )
        assert status == 0
        return printed.strip()


class NewApi(Protocol):
    """`new_api()` starts a router with a console and, beside its relay, these profiles; the token allows everything."""

    async def __call__(self, profiles: str = "") -> Api: ...


@pytest.fixture
async def new_api(crm: Crm, new_router: NewRouter, capture: Capture) -> AsyncIterator[NewApi]:
    """Start routers for the mailbox of one owner, each with a client."""
    if not await crm.admin.fetchval("SELECT EXISTS (SELECT FROM crm.owner)"):
        await crm.owner("staff@in.test", "all")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:

        async def start(profiles: str = "") -> Api:
            port = free_port()
            router = await new_router(outgoing(capture.port) + profiles, EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
            await wait_for(port, "/healthz", 200)
            api = Api(router, port, session, "")
            api.token = await api.token_of("tests", *EVERYTHING)
            return api

        yield start


@pytest.fixture
async def api(new_api: NewApi) -> Api:
    """A client of a router."""
    return await new_api()
