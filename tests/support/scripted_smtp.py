"""A relay on loopback that answers by a script, and misbehaves where it says so."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

CLOSE = "close"
"""Instead of a reply: the connection is closed."""
RESET = "reset"
"""Instead of a reply: the connection is reset."""
SILENCE = "silence"
"""Instead of a reply: nothing, until the client has gone."""
STALL = "stall"
"""Instead of a reply: nothing is read or said any more."""


def late(reply: str, seconds: float = 0.1) -> str:
    """The same reply, after a while."""
    return f"late {seconds} {reply}"


ORDINARY = {
    "greeting": "220 relay.test",
    "HELO": "250 relay.test",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 Go on",
    ".": "250 2.0.0 Queued",
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


class ScriptedSmtp:
    """`script` tells the reply to a line by its longest beginning; a sequence is used up over all connections.

    Beginnings beside those of commands: `greeting`, `.` (the end of the content), and `content` (its first line). A
    connection's `commands` and `ended` are under its number, from 0; `messages` is what came after DATA, still stuffed.
    """

    def __init__(
        self,
        script: Mapping[str, str | Sequence[str]] | None = None,
        offers: Sequence[str] = ("SIZE 99999999", "8BITMIME"),
    ) -> None:
        ehlo = "\r\n".join(["250-relay.test", *(f"250-{offer}" for offer in offers), "250 ENHANCEDSTATUSCODES"])
        replies = ORDINARY | {"EHLO": ehlo} | dict(script or {})
        self._script = {key: [reply] if isinstance(reply, str) else list(reply) for key, reply in replies.items()}
        self.commands: list[list[str]] = []
        self.ended: list[asyncio.Event] = []
        self.messages: list[bytes] = []
        self.silent = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self._closing.set()
        await asyncio.wait_for(asyncio.gather(*(ended.wait() for ended in self.ended)), 10)

    def say(self, number: int, words: str) -> None:
        """Say something at this connection that nobody asked for."""
        self._writers[number].write(f"{words}\r\n".encode())

    def end(self, number: int) -> None:
        """End this connection."""
        self._writers[number].transport.abort()

    def replies(self, beginning: str, reply: str) -> None:
        """Answer so from now on."""
        self._script[beginning] = [reply]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.commands)
        self.commands.append([])
        self.ended.append(asyncio.Event())
        self._writers.append(writer)
        try:
            going = await self._reply("greeting", reader, writer)
            while going and (line := (await reader.readline()).decode().rstrip("\r\n")):
                self.commands[number].append(line)
                going = await self._reply(line, reader, writer)
                if going and line == "DATA" and self._last.startswith("354"):
                    going = await self._content(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.ended[number].set()

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readline()
        if "content" in self._script:
            if await self._reply("content", reader, writer):
                await reader.read()
            return False
        lines = [first]
        while lines[-1] != b".\r\n":
            lines.append(await reader.readuntil(b"\r\n"))
        self.messages.append(b"".join(lines[:-1]))
        return await self._reply(".", reader, writer)

    async def _reply(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        key = max((key for key in self._script if line.startswith(key)), key=len, default=None)
        replies = self._script[key] if key is not None else ["500 5.5.1 Unknown command"]
        self._last = replies.pop(0) if len(replies) > 1 else replies[0]
        if self._last.startswith("late "):
            _, seconds, self._last = self._last.split(" ", 2)
            await asyncio.sleep(float(seconds))
        if self._last == CLOSE:
            writer.transport.abort()
            return False
        if self._last == RESET:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if self._last == STALL:
            await self._closing.wait()  # meanwhile the reader's buffer fills up
            return False
        if self._last == SILENCE:
            self.silent.set()
            await reader.read()
            return False
        writer.write(self._last.encode(errors="surrogateescape") + b"\r\n")
        await writer.drain()
        return line != "QUIT" and not self._last.startswith("421")


@asynccontextmanager
async def talking(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A server on loopback that holds this conversation with each client; gives its port, and ends after the last."""
    ended: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await talk(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        if ended:
            await asyncio.wait(ended, timeout=10)
