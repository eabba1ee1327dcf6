"""The console's server: it never stops mail, nor the end of the process, and nobody can wear it out.

Where its address is taken it says so and tries again. Its connections are few, and none may dawdle.
"""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from router.backoff import Backoff
from router.health import Health
from router.settings import ConsoleAddress
from router.web.app import Reasons, console_app
from router.web.ask import is_alive
from router.web.forwarded import Proxies

_log = structlog.get_logger(__name__)

_MOST: Final = 320  # connections: more than all requests that `app` serves at once, so that a probe finds room
_PATIENCE: Final = 10.0  # seconds for a request to come, and for some of its answer to be taken


class Console:
    """The console at one address; `await Console(address, reasons).run()`. `reasons` answers for /readyz.

    `api` is served under /api/v1, and `pages` at /.
    """

    def __init__(
        self,
        address: ConsoleAddress,
        reasons: Reasons,
        api: ASGIApp | None = None,
        pages: ASGIApp | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._address = address
        self._app = console_app(reasons, api, pages, proxies)
        self.health = Health("the console cannot be served now", not_noted, _log, kind="console")

    async def run(self) -> None:
        """Serve until canceled; it ends within a second then, whatever its clients do."""
        backoff = Backoff(longest=15)
        another = False
        while True:
            try:
                listening = self._bind()
            except OSError as error:
                pause = backoff.next()
                if error.errno == errno.EADDRINUSE and await self._is_ours():
                    await self.health.works()
                    if not another:
                        advice = "to see this one's numbers too, set EMAIL_ROUTER_CONSOLE to another port"
                        _log.info("another router serves the console", address=str(self._address), next=advice)
                    another = True
                else:
                    await self.health.fails(self._in_words(error), pause)
                await asyncio.sleep(pause)
                continue
            with listening:
                await self.health.works()
                _log.info("the console is served", url=f"http://{self._address}/")
                backoff.reset()
                another = False
                await self._serve(listening)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address.host else socket.AF_INET
        return socket.create_server((self._address.host, self._address.port), family=family)

    async def _is_ours(self) -> bool:
        try:
            return await is_alive(self._address)
        except OSError:
            return False

    def _in_words(self, error: OSError) -> str:
        cannot = f"cannot listen at {self._address}"
        if error.errno == errno.EADDRINUSE:
            return f"{cannot}: another program listens there; EMAIL_ROUTER_CONSOLE names another address, or off"
        return f"{cannot}: {error.strerror or error}"

    async def _serve(self, listening: socket.socket) -> None:
        server = _Server(
            uvicorn.Config(
                self._app,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="console")
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = server.force_exit = True
            server.hang_up()
            await asyncio.wait([serving], timeout=0.5)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def not_noted(_fault: str | None, _next_try: datetime | None) -> None:
    """The console is one process's own; others read nothing of it in the database."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the router."""
        yield

    def hang_up(self) -> None:
        """End all connections and requests at once."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()


class _Counted:
    """A transport that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written = 0

    def write(self, content: bytes) -> None:
        self._written += len(content)
        self._transport.write(content)

    @property
    def taken(self) -> int:
        """Bytes that are under way to the client, or there."""
        return self._written - self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Connection(H11Protocol):
    """A connection that ends when its client takes too long to ask, or takes nothing more of the answer.

    uvicorn waits for both without end, and files that are open are the whole process's.
    """

    _waiting: asyncio.TimerHandle | None = None
    _counted: _Counted
    made_at: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._counted = _Counted(transport)
        super().connection_made(cast("asyncio.Transport", self._counted))
        self._look_later()
        # Head and body are two writes: the second would wait 40 ms for the first to be acknowledged. asyncio sees to it
        # by itself for some sockets, and not for those of socket.create_server.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.made_at = self.loop.time()
        if len(self.connections) > _MOST:
            # Whoever asks for nothing now makes room, or else whoever is here for longest: so probes get in, and what
            # is soon answered is answered, whoever holds all connections.
            others = (one for one in self.connections if one is not self and isinstance(one, _Connection))
            min(others, key=lambda one: (not one.is_idle, one.made_at)).transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way: none has come yet, or the last was answered."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's own type forgets that there is none at first
        return cycle is None or cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._waiting = self.loop.call_later(_PATIENCE, self._look, self.cycle, self._counted.taken)

    def _look(self, cycle: object, taken: int) -> None:
        """Each request makes a cycle: if it is still the same one, nothing was finished in the meantime."""
        if self.cycle is cycle and self._counted.taken == taken:
            self.transport.abort()
        else:
            self._look_later()
