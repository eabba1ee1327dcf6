"""What is under test: the kinds of transport to which mail is handed, and the ways to reach them.

To enrol a kind: its ways in WAYS, and how it greets in GREETINGS. Everything else speaks the contract only.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pytest

import transports
from tests.servers.tls import Tls
from transports.base import Acceptance, Received

HOST = "127.0.0.1"
GREETINGS = {"smtp": "EHLO", "lmtp": "LHLO"}
ANN, BOB, EVE = "ann@theirs.test", "bob@ours.test", "eve@ours.test"


@dataclass(frozen=True)
class Way:
    """One way to a listener: its kind, and over what."""

    kind: str
    over: Literal["tcp", "starttls", "unix"]

    def __str__(self) -> str:
        return f"{self.kind}-{self.over}"


WAYS = (Way("smtp", "tcp"), Way("smtp", "starttls"), Way("lmtp", "tcp"), Way("lmtp", "starttls"), Way("lmtp", "unix"))

every_way = pytest.mark.parametrize("way", WAYS, ids=str)


def ways_over(*over: str) -> pytest.MarkDecorator:
    """Run a test for the ways that go over these."""
    return pytest.mark.parametrize("way", [way for way in WAYS if way.over in over], ids=str)


class Intake:
    """What takes the mail: says 250 to everything until told otherwise."""

    def __init__(self) -> None:
        self.taken: list[Received] = []
        self.answers: list[Acceptance] | None = None
        self.fault: Exception | None = None
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def accept(self, received: Received) -> Sequence[Acceptance]:
        self.asked.set()
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        self.taken.append(received)
        return self.answers or [Acceptance(250, "2.0.0 taken")] * len(received.recipients)

    async def admit(self, address: str) -> Acceptance:
        if "@" not in address or address.startswith("nobody"):
            return Acceptance(550, "5.1.1 nobody")
        return Acceptance(450, "4.2.1 not yet") if address.startswith("later") else Acceptance(250, "2.1.5 OK")


class Served:
    """A listener that serves an intake; `task` is its serving."""

    def __init__(self, way: Way, tls: Tls, folder: Path, task: asyncio.Task[None], port: int) -> None:
        self.way = way
        self.task = task
        self._tls = tls
        self._address: Any = str(folder / "socket") if way.over == "unix" else (HOST, port)

    def client(self, *, greets: bool = True) -> "Client":
        return Client(self.way, self._address, self._tls, greets=greets)

    async def deliver(self, content: bytes, *recipients: str, sender: str = ANN) -> list[str]:
        """Hand over one message over a connection of its own; the replies to it."""

        def work() -> list[str]:
            with self.client() as client:
                return client.deliver(content, *recipients or (BOB,), sender=sender)

        return await asyncio.to_thread(work)


@asynccontextmanager
async def serving(intake: Intake, way: Way, tls: Tls, folder: Path, **settings: Any) -> AsyncIterator[Served]:
    listen = {"listen": f"unix:{folder}/socket" if way.over == "unix" else f"{HOST}:0"}
    secured = {"cert_file": tls.certificate, "key_file": tls.key} if way.over == "starttls" else {}
    kind = transports.load(way.kind).incoming
    assert isinstance(kind, transports.ListenerKind)
    async with kind.open(kind.settings(**(listen | secured | settings))) as listener:
        task = asyncio.create_task(listener.serve(intake.accept, intake.admit))
        try:
            yield Served(way, tls, folder, task, getattr(listener, "port", 0))
        finally:
            task.cancel()
            await asyncio.wait([task])


class Client:
    """A mail server that says exactly what it is told to; it blocks, so it is for a thread."""

    def __init__(self, way: Way, address: Any, tls: Tls, *, greets: bool) -> None:
        self._way = way
        self._socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self._socket.settimeout(20)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._stream = self._socket.makefile("rb")
        self.greeting = self.reply()
        if greets:
            self.hello()
            if way.over == "starttls":
                assert self.say("STARTTLS").startswith("220")
                self.encrypt(tls)
                self.hello()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def hello(self) -> list[str]:
        """Greet, and return what is offered."""
        self.write(f"{GREETINGS[self._way.kind]} client.test\r\n".encode())
        lines = [self._line()]
        while lines[-1][3] == "-":
            lines.append(self._line())
        return [line[4:] for line in lines[1:]]

    def encrypt(self, tls: Tls) -> None:
        self._socket = tls.client_context().wrap_socket(self._socket, server_hostname="localhost")
        self._stream = self._socket.makefile("rb")

    def write(self, content: bytes) -> None:
        self._socket.sendall(content)

    def reply(self) -> str:
        """Read one reply, and return its last line; empty when the connection has ended."""
        while (line := self._line())[3:4] == "-":
            pass
        return line

    def say(self, line: str) -> str:
        self.write(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self.reply()

    def envelope(self, *recipients: str, sender: str = ANN) -> None:
        """Say all up to DATA."""
        assert self.say(f"MAIL FROM:<{sender}>").startswith("250")
        for recipient in recipients:
            assert self.say(f"RCPT TO:<{recipient}>").startswith("250")
        assert self.say("DATA").startswith("354")

    def replies(self, recipients: int = 1) -> list[str]:
        """Read what is said to a message: in LMTP one reply for each recipient."""
        return [self.reply() for _ in range(recipients if self._way.kind == "lmtp" else 1)]

    def deliver(self, content: bytes, *recipients: str, sender: str = ANN) -> list[str]:
        self.envelope(*recipients, sender=sender)
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
        self.write(stuffed + b".\r\n")
        return self.replies(len(recipients))

    def rest(self) -> bytes:
        """Read all until the connection ends."""
        try:
            return self._stream.read()
        except (ConnectionError, ssl.SSLError):
            return b""

    def _line(self) -> str:
        try:
            return self._stream.readline().decode().rstrip("\r\n")
        except (ConnectionError, ssl.SSLError):
            return ""
