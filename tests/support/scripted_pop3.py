"""A POP3 server that errs where it is told to: what no real one can be brought to do."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from transports.base import After, Listed
from transports.pop3.account import Pop3Account
from transports.pop3.mailbox import Pop3Mailbox
from transports.pop3.settings import Pop3Settings

SECRET = "POP3_SCRIPT_PASSWORD"
PASSWORD = "hush hush"


def mail(subject: str, date: str = "Fri, 20 Nov 2026 10:00:00 +0100") -> bytes:
    return f"Received: from a\r\n by b (c; d);\r\n {date}\r\nSubject: {subject}\r\n\r\n.text\r\n".encode()


@dataclass
class Pop3Server:
    """`drop` is the maildrop, (UIDL, message) each. `answers` replaces what is answered to a line, or ends the session.

    `heard` is every line that was said to it.
    """

    drop: list[tuple[bytes, bytes]] = field(default_factory=list)
    capabilities: Sequence[str] = ("UIDL", "TOP", "USER", "PIPELINING")
    answers: Mapping[str, bytes | None] = field(default_factory=dict)
    greeting: bytes = b"+OK hello\r\n"
    heard: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    def settings(self, **changes: Any) -> Pop3Settings:
        auth = {"user": "{mailbox}", "password": {"env": SECRET}}
        made = {"host": "127.0.0.1", "port": self.port, "security": "none", "timeout": 5, "auth": auth}
        return Pop3Settings.model_validate(made | changes)

    def open(self, after: str = "keep", **changes: Any) -> Pop3Account:
        return Pop3Account(self.settings(**changes), "a@in.test", After.parse(after))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        drop, gone = list(self.drop), set[int]()
        writer.write(self.greeting)
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.heard.append(line)
            answer: bytes | None = next(
                (answer for begin, answer in self.answers.items() if f"{line} ".startswith(f"{begin} ")), b""
            )
            if answer is None:
                break
            verb, *numbers = line.split()
            if verb == "DELE" and not answer:
                gone.add(int(numbers[0]) - 1)
            writer.write(answer or self._answer(drop, verb, numbers))
            if verb == "QUIT" and not answer:
                self.drop = [one for one in self.drop if not any(one is drop[number] for number in gone)]
                break
        await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def _answer(self, drop: Sequence[tuple[bytes, bytes]], verb: str, numbers: Sequence[str]) -> bytes:
        match verb:
            case "CAPA":
                return _lines(one.encode() for one in self.capabilities)
            case "UIDL":
                return _lines(b"%d %s" % (number, uidl) for number, (uidl, _) in enumerate(drop, 1))
            case "LIST":
                return _lines(b"%d %d" % (number, len(message)) for number, (_, message) in enumerate(drop, 1))
            case "TOP" | "RETR":
                message = drop[int(numbers[0]) - 1][1]
                if numbers[1:] == ["0"]:
                    message = message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                return b"+OK\r\n" + message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
            case "AUTH":
                return b"+ \r\n"
        return b"+OK\r\n"


def _lines(lines: Any) -> bytes:
    return b"+OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b".\r\n"


async def all_of(box: Pop3Mailbox) -> Sequence[Listed]:
    return (await box.list(None, 1000)).copies
