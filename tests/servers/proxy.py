"""A TCP proxy between us and a server, with the faults that networks have."""

import asyncio
import re
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 65_536


@dataclass(slots=True)
class _Link:
    """One connection: whether it flows, the tag of its IMAP command under way, and what its faults have come to."""

    flowing: asyncio.Event
    tag: bytes = b""
    swallowed: bytes = b""
    silent: bool = False
    lost: bool = False
    rest: bytes = b""
    left: int | None = None


class Proxy:
    """`async with Proxy(server_port) as proxy:` listens on `proxy.port`; faults reach all connections through it.

    In place of a port there may be the path of a Unix socket.

    `delay` (seconds) holds back every chunk in both directions; `refusing` ends new connections at once. Of what the
    server says at once, more than `lose_beyond` bytes are lost, and all after it: packets too large for the way. With
    `listening`, `heard` is all that either side has said. `connections` counts them all, `most_at_once`
    those open together. `struck` counts how often `cut_after`, `reset_within`, `swallow` and `lose_beyond` came to
    pass.
    """

    def __init__(self, server_port: int | str, *, delay: float = 0.0, listening: bool = False) -> None:
        self.delay = delay
        self.listening = listening
        self.heard = bytearray()
        self.refusing = False
        self.lose_beyond: int | None = None
        self.connections = self.most_at_once = 0
        self._server_port = server_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.held = asyncio.Event()
        self.struck = 0
        self._cut_after = self._hold_before = self._hold_after = self._swallow = b""
        self._reset_within: tuple[re.Pattern[bytes], int] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def open_now(self) -> int:
        """How many connections are open now."""
        return len(self._tasks)

    def cut(self) -> None:
        """Break every connection at once, on both sides."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_after(self, text: bytes) -> None:
        """Once a client has sent `text`, pass it on and break that connection before any answer; not through TLS."""
        self._cut_after = text

    def reset_within(self, said: bytes, after: int) -> None:
        """Once the server has said what this expression matches, and `after` bytes more, reset that one connection."""
        self._reset_within = (re.compile(said), after)

    def swallow(self, text: bytes) -> None:
        """Keep back the tagged line that answers the next IMAP line with `text`, and all after it, for good."""
        self._swallow = text

    def hold_before(self, text: bytes) -> None:
        """Once a client has sent `text`, set `held` and `stall`: the server does not hear of it; not through TLS."""
        self._hold_before = text

    def hold_after(self, text: bytes) -> None:
        """Once a client has sent `text`, pass it on, set `held` and `stall`: no answer comes; not through TLS."""
        self._hold_after = text

    def stall(self) -> None:
        """Let nothing through, with connections open: a server that hangs, a cable pulled."""
        self._flowing.clear()

    def freeze(self) -> None:
        """Let nothing through on the connections open now, for good: half-open. New ones are not concerned."""
        self._flowing.clear()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def resume(self) -> None:
        """Undo `stall` and `hold_…`; what was held back follows."""
        self._hold_before = self._hold_after = b""
        self.held.clear()
        self._flowing.set()

    def _hold(self) -> None:
        self.stall()
        self.held.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.most_at_once = max(self.most_at_once, len(self._tasks))
        try:
            if not self.refusing:
                await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side went away, as reads and writes that fail tell; or the proxy ends
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self._flowing)
        server_reader, server_writer = await self._reach()
        self._writers.add(server_writer)
        up = asyncio.create_task(self._up(link, reader, writer, server_writer))
        try:
            await self._down(link, server_reader, writer)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            server_writer.transport.abort()
            self._writers.discard(server_writer)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._server_port, str):
            return await asyncio.open_unix_connection(self._server_port)
        return await asyncio.open_connection(HOST, self._server_port)

    async def _up(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        seen = b""
        try:
            while chunk := await self._read(link, reader):
                seen = (seen + chunk)[-_CHUNK:] if self._cut_after or self._hold_before or self._hold_after else b""
                self._note_commands(link, chunk)
                if seen and self._cut_after and self._cut_after in seen:
                    self.struck += 1
                    writer.transport.abort()  # before the server hears of it, so that no answer gets through
                if seen and self._hold_before and self._hold_before in seen:
                    self._hold()
                    await link.flowing.wait()
                server.write(chunk)
                if seen and self._hold_after and self._hold_after in seen:
                    self._hold()
                await server.drain()
            server.write_eof()
        except OSError:
            server.transport.abort()

    async def _down(self, link: _Link, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await self._read(link, server):
            passed = self._until_reset(link, self._without_answer(link, self._unless_large(link, chunk)))
            # The server is heard to its end even if the client is gone: unread, its answer would become a reset.
            if passed and not writer.is_closing():
                writer.write(passed)
                await writer.drain()
            if link.left == 0 and not writer.is_closing():
                self.struck += 1
                _reset(writer)

    def _note_commands(self, link: _Link, chunk: bytes) -> None:
        for line in chunk.splitlines(keepends=True):
            # DONE has no tag: what it ends is IDLE.
            if len(words := line.split(maxsplit=1)) > 1:
                link.tag = words[0]
            if self._swallow and self._swallow in line:
                self._swallow, link.swallowed = b"", link.tag

    def _unless_large(self, link: _Link, chunk: bytes) -> bytes:
        if self.lose_beyond is not None and len(chunk) > self.lose_beyond and not link.lost:
            self.struck += 1
            link.lost = True
        return b"" if link.lost else chunk

    def _without_answer(self, link: _Link, chunk: bytes) -> bytes:
        if not link.swallowed:
            return chunk
        told = link.rest + chunk
        answer = re.search(rb"(?m)^" + re.escape(link.swallowed) + rb" ", told)
        if answer and not link.silent:
            self.struck += 1
            link.silent = True
            told = told[: answer.start()]
        elif link.silent:
            return b""
        # A line that is not complete may be the one.
        end = told.rfind(b"\n") + 1
        link.rest = told[end:]
        return told[:end]

    def _until_reset(self, link: _Link, chunk: bytes) -> bytes:
        if link.left is None:
            if self._reset_within is None:
                return chunk
            said, after = self._reset_within
            match = said.search(chunk)
            if match is None:
                return chunk
            self._reset_within = None
            link.left = match.end() + after
        passed = chunk[: link.left]
        link.left -= len(passed)
        return passed

    async def _read(self, link: _Link, reader: asyncio.StreamReader) -> bytes:
        chunk = await reader.read(_CHUNK)
        if self.listening:
            self.heard += chunk
        if self.delay:
            await asyncio.sleep(self.delay)
        await link.flowing.wait()
        return chunk


def _reset(writer: asyncio.StreamWriter) -> None:
    # With this a socket is closed by RST, not FIN.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
