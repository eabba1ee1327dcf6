"""TLS in small pieces: what comes through it, and what is told when it breaks."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.servers.tls import Tls
from transports._net.tls_link import PIECE, TlsLink

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hearer(asyncio.Protocol):
    """Notes what it hears, in which pieces, and why it ended."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@asynccontextmanager
async def linked(tls: Tls, serve: Serve, *, speaks_tls: bool = True) -> AsyncIterator[tuple[Hearer, TlsLink]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if speaks_tls else None)
    hearer = Hearer()
    link = TlsLink(tls.client_context(), "127.0.0.1", hearer, hearer.connection_made)
    await asyncio.get_running_loop().create_connection(lambda: link, *server.sockets[0].getsockname()[:2])
    try:
        yield hearer, link
    finally:
        link.abort()
        server.close()


async def test_everything_comes_through_in_small_pieces_and_the_end_is_told(tls: Tls) -> None:
    content = bytes(range(256)) * 8192

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"all of it\n"
        writer.write(content)
        writer.close()

    async with linked(tls, serve) as (hearer, link):
        await link.handshake_done()
        assert link.get_extra_info("peercert")["subject"]
        assert link.get_extra_info("peername")[0] == "127.0.0.1"
        link.write(b"all of it\n")
        assert await asyncio.wait_for(hearer.lost, 30) is None
        assert b"".join(hearer.pieces) == content
        assert max(map(len, hearer.pieces)) <= PIECE
        assert link.is_closing()


async def test_broken_tls_is_the_reason_of_the_loss(tls: Tls) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.transport._ssl_protocol._transport.write(b"this is no TLS record")  # type: ignore[attr-defined]  # asyncio's own
        await reader.read()
        writer.transport.abort()

    async with linked(tls, serve) as (hearer, link):
        await link.handshake_done()
        link.write(b"go on\n")
        assert isinstance(await asyncio.wait_for(hearer.lost, 30), ssl.SSLError)


async def test_a_server_that_speaks_no_tls(tls: Tls) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK in clear\r\n")
        await writer.drain()
        writer.close()

    async with linked(tls, serve, speaks_tls=False) as (_, link):
        with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
            await asyncio.wait_for(link.handshake_done(), 30)


async def test_a_server_that_closes_while_tls_begins(tls: Tls) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with linked(tls, serve, speaks_tls=False) as (_, link):
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(link.handshake_done(), 30)


async def test_giving_up_while_tls_begins_closes_the_connection(tls: Tls) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        closed.set()
        writer.close()

    async with linked(tls, serve, speaks_tls=False) as (_, link):
        handshake_done = asyncio.create_task(link.handshake_done())
        await asyncio.sleep(0)
        handshake_done.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handshake_done
        await asyncio.wait_for(closed.wait(), 30)
