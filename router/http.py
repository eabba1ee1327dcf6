"""The one HTTP client: an answer of bounded size within bounded time, over TLS that is verified, and no detours.

Redirects are not followed, proxies of the environment are not asked, cookies are not kept, and answers come as they
are, not compressed. Foreign errors end here.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from router import __version__
from router.names import Names
from transports import client_context, no_connection
from transports.errors import Permanent, Temporary, Unreachable

_MOST: Final = 64 << 10  # bytes of an answer
_AT_ONCE: Final = 32  # requests to one server, of this process
_PATIENCE: Final = 3600.0  # seconds; no server makes us wait longer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. `peer` is its address; `retry_after` is in seconds, where it names a time."""

    status: int
    body: bytes = field(repr=False)
    content_type: str
    retry_after: float | None
    location: str | None
    peer: str


class Http:
    """Sends requests. A server that hangs delays the requests to it alone, each by at most its `timeout`."""

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._names = Names()

    async def get(self, url: str, *, ca_file: Path | None, timeout: float) -> Answer:
        """Get a document. Raises Unreachable or Temporary, or Permanent for authorities that cannot be read."""
        return await self._ask("GET", url, None, {}, ca_file, timeout)

    async def post(
        self, url: str, form: str, headers: Mapping[str, str], *, ca_file: Path | None, timeout: float
    ) -> Answer:
        """Post a form (application/x-www-form-urlencoded); raises as `get` does."""
        headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", url, form.encode(), headers, ca_file, timeout)

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        ca_file: Path | None,
        timeout: float,
    ) -> Answer:
        server = server_of(url)
        with _translated(server, timeout):
            async with asyncio.timeout(timeout):
                context = await asyncio.to_thread(client_context, ca_file)
                async with self._turns.setdefault(server, asyncio.Semaphore(_AT_ONCE)):
                    return await _request(method, url, body, headers, context, self._names)


class Line:
    """One connection to one server, kept from one request to the next; answers are told by their status alone."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        """Post this; raises as `Http.get` does. What is answered beyond 64 KB is not read."""
        with _translated(server_of(url), timeout):
            async with (
                asyncio.timeout(timeout),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                read = 0
                async for chunk in response.content.iter_chunked(_MOST):
                    read += len(chunk)
                    if read > _MOST:
                        response.close()
                        break
                return Answer(
                    response.status,
                    b"",
                    response.content_type,
                    _seconds(response.headers.get("Retry-After")),
                    response.headers.get("Location"),
                    "",
                )


@asynccontextmanager
async def line(resolver: AbstractResolver) -> AsyncIterator[Line]:
    """Open a line; `resolver` says where a server may be."""
    context = await asyncio.to_thread(client_context, None)
    async with _session(aiohttp.TCPConnector(ssl=context, limit=1, resolver=resolver)) as session:
        yield Line(session)


@contextmanager
def _translated(server: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Unreachable(f"{server} did not answer within {timeout:g} s") from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise _cannot_connect(server, error.certificate_error) from None
    except aiohttp.ClientConnectorError as error:
        raise _cannot_connect(server, error.os_error) from None
    except aiohttp.ClientConnectionError:
        raise Unreachable(f"{server} ended the connection without an answer") from None
    except aiohttp.ClientError as error:
        # Their words may quote what was sent.
        raise Temporary(f"what {server} answered is not HTTP ({type(error).__name__})") from None
    except (OSError, ValueError) as error:
        raise Permanent(f"{server} cannot be asked ({type(error).__name__})") from None


def server_of(url: str) -> str:
    """Name the server of a URL, without what may be private in it: "https://login.example.com"."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def _request(
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    context: ssl.SSLContext,
    names: Names,
) -> Answer:
    sockets: list[socket.socket] = []
    peers: list[str] = []

    def new_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, protocol, _, _ = address
        sockets.append(socket.socket(family, kind, protocol))
        sockets[-1].setblocking(False)
        return sockets[-1]

    async def connected(*_: object) -> None:
        peers.extend(peer for one in sockets if (peer := _peer_of(one)))

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    connector = aiohttp.TCPConnector(ssl=context, limit=1, force_close=True, socket_factory=new_socket, resolver=names)
    async with (
        _session(connector, trace) as session,
        session.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
    ):
        content = bytearray()
        async for chunk in response.content.iter_chunked(_MOST):
            content += chunk
            if len(content) > _MOST:
                raise Temporary(f"{server_of(url)} answered more than {_MOST >> 10} KB")
        return Answer(
            response.status,
            bytes(content),
            response.content_type,
            _seconds(response.headers.get("Retry-After")),
            response.headers.get("Location"),
            peers[-1] if peers else "",
        )


def _session(connector: aiohttp.TCPConnector, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trust_env=False,
        auto_decompress=False,
        trace_configs=list(traces),
        headers={
            "User-Agent": f"crm-email-router/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
    )


def _peer_of(one: socket.socket) -> str | None:
    try:
        host, port = one.getpeername()[:2]
    except OSError:  # of several addresses, another was faster
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After (RFC 9110 §10.2.3): seconds, or a date; an hour is the most."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), _PATIENCE)
    try:
        when = parsedate_to_datetime(retry_after)
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _PATIENCE)


def _cannot_connect(server: str, error: OSError | Exception) -> Unreachable:
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return Unreachable(f"cannot connect to {server}: it does not speak TLS at this port ({error.reason})")
    return no_connection(server, error if isinstance(error, OSError) else OSError(str(error)))
