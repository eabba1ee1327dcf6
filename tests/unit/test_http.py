"""The one HTTP client: bounded, without detours, over TLS that is verified."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from router.http import Http
from tests.servers.tls import make_tls
from tests.support.token_server import raw, token_server
from transports.errors import Permanent, Temporary, Unreachable


@asynccontextmanager
async def saying(*pieces: bytes, hang: bool = False) -> AsyncIterator[str]:
    """A server that answers whatever it is asked with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for piece in pieces:
                writer.write(piece)
            if hang:
                with suppress(OSError):
                    await reader.read()  # until the client goes
        finally:
            writer.close()
            answered.set()

    answered = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await answered.wait()


async def get(url: str, ca_file: Path | None = None, timeout: float = 5) -> object:
    return await Http().get(url, ca_file=ca_file, timeout=timeout)


async def test_tls_is_verified(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    async with token_server(context) as server:
        answer = await Http().post(server.url, "a=1", {}, ca_file=tls.ca_file, timeout=5)
        assert answer.status == 200
        assert answer.peer == f"127.0.0.1:{urlsplit(server.url).port}"
        with pytest.raises(Unreachable, match="its certificate cannot be trusted"):
            await get(server.url)
        with pytest.raises(Permanent, match="cannot be read"):
            await get(server.url, tmp_path / "missing.pem")
        other = server.url.replace("localhost", "127.0.0.2")
        with pytest.raises(Unreachable):
            await get(other, tls.ca_file)


async def test_no_detours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with token_server() as server:
        server.answer = raw(b"", status=307, Location=server.url)
        answer = await Http().post(server.url, "a=1", {}, ca_file=None, timeout=5)
        assert (answer.status, len(server.forms)) == (307, 1)
        assert server.headers[0]["User-Agent"].startswith("crm-email-router/")
        assert "gzip" not in server.headers[0].get("Accept-Encoding", "")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"SSH-2.0-x\r\n\r\n",),
        (HEAD + b"Content-Length: 10\r\n\r\nabc",),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"a" * 1_000_000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 0x10000 + b"\r\n", b"1\r\na\r\n0\r\n\r\n"),
        (HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",),
    ],
)
async def test_what_is_no_answer_is_temporary(pieces: tuple[bytes, ...]) -> None:
    async with saying(*pieces) as url:
        with pytest.raises(Temporary):
            await get(url)


async def test_a_server_that_dribbles_is_left() -> None:
    async with saying(HEAD + b"Content-Length: 10\r\n\r\nabc", hang=True) as url:
        with pytest.raises(Unreachable, match=r"did not answer within 0.2 s"):
            await get(url, timeout=0.2)


async def test_what_is_compressed_stays_so() -> None:
    async with saying(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc") as url:
        assert (await Http().get(url, ca_file=None, timeout=5)).body == b"abc"


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        (lambda: "120", 120, 120),
        (lambda: _date(100), 90, 100),
        (lambda: _date(-100), 0, 0),
        (lambda: "9" * 5000, 3600, 3600),
        (lambda: _date(86400), 3600, 3600),
    ],
)
async def test_retry_after(told: Callable[[], str], least: float, most: float) -> None:
    async with token_server() as server:
        server.answer = raw(b"", status=503, **{"Retry-After": told()})
        answer = await Http().post(server.url, "", {}, ca_file=None, timeout=5)
    assert answer.retry_after is not None
    assert least <= answer.retry_after <= most


@pytest.mark.parametrize(
    "told",
    ["soon", "-5", "1.5", "Mon, 99 Foo 2026 00:00:00 GMT", f"Mon, 01 Jan {'9' * 14} 00:00:00 GMT"],
)
async def test_a_senseless_retry_after_is_none(told: str) -> None:
    async with token_server() as server:
        server.answer = raw(b"", status=503, **{"Retry-After": told})
        assert (await Http().post(server.url, "", {}, ca_file=None, timeout=5)).retry_after is None


async def test_servers_that_hang_keep_nobody_else_waiting() -> None:
    http = Http()
    async with token_server() as hanging, token_server() as other:
        hanging.gate.clear()
        waiting = [asyncio.create_task(http.post(hanging.url, "", {}, ca_file=None, timeout=1)) for _ in range(100)]
        while not hanging.forms:
            await asyncio.sleep(0.01)
        assert (await http.post(other.url, "", {}, ca_file=None, timeout=5)).status == 200
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Unreachable) for one in results)


async def test_a_name_server_that_hangs_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    asked: list[str] = []
    ask = socket.getaddrinfo

    def hang(host: str, *more: Any, **named: Any) -> Any:
        if host != "hanging.example":
            return ask(host, *more, **named)
        asked.append(host)
        let_go.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("socket.getaddrinfo", hang)
    http = Http()
    url = "https://hanging.example/token"
    waiting = [asyncio.create_task(http.get(url, ca_file=None, timeout=1)) for _ in range(100)]
    while not asked:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(50)))
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Unreachable) for one in results)
    assert len(asked) == 1
    let_go.set()
    with pytest.raises(Unreachable, match="Temporary failure in name resolution"):
        await http.get(url, ca_file=None, timeout=5)


async def test_a_name_is_found() -> None:
    async with token_server() as server:
        assert (await Http().post(server.url, "", {}, ca_file=None, timeout=5)).peer.startswith("127.0.0.1:")
