"""The SMTP transport alone against smtp-source, in one run: messages a second, and processor time of each.

`python -m tests.benchmarks.relay` sends 5,000 messages of 8 KB over 8 connections into smtp-sink, and over 64 to a
relay that takes 20 ms to answer to each message. Ratios count, not the numbers: sink and relay take their part of the
machine.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from tests.servers.installed import program
from tests.servers.ports import free_port
from transports.base import Envelope
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

SIZE = 8000
LINE = b"The quick brown fox jumps over the lazy dog, and over it again, and again.\r\n"
CONTENT = b"From: <crm@bench.test>\r\nSubject: benchmark\r\n\r\n" + LINE * (SIZE // len(LINE))


@contextmanager
def sink() -> Iterator[int]:
    """smtp-sink, which takes everything and keeps nothing."""
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([program("smtp-sink"), *user, f"127.0.0.1:{port}", "1000"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


class _Slow(asyncio.Protocol):
    """A relay that answers to a message after a while, and to all else at once."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._buffer = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are no subclass
        self._transport.write(b"220 slow.test\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            if self._in_data:
                end = self._buffer.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self._buffer, self._in_data = self._buffer[end + 5 :], False
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, b"250 2.0.0 Ok\r\n")
                continue
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                return
            self._buffer = rest
            verb = line[:4].upper()
            if verb == b"DATA":
                self._in_data = True
                self._transport.write(b"354 Go on\r\n")
            elif verb == b"EHLO":
                self._transport.write(b"250-slow.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"QUIT":
                self._transport.write(b"221 Bye\r\n")
                self._transport.close()
            else:
                self._transport.write(b"250 Ok\r\n")


def _serve_slowly(delay: float, ready: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Slow(delay), "127.0.0.1", 0, backlog=256)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def slow(delay: float) -> Iterator[int]:
    """A relay of our own, in a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_slowly, args=(delay, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def by_smtp_source(port: int, messages: int, connections: int) -> float:
    """Messages a second of smtp-source."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "message"
        file.write_bytes(CONTENT.replace(b"\r\n", b"\n"))
        command = [program("smtp-source"), "-m", str(messages), "-s", str(connections), "-d", "-F", str(file)]
        began = time.perf_counter()
        subprocess.run([*command, "-f", "crm@bench.test", "-t", "ann@bench.test", f"127.0.0.1:{port}"], check=True)
        return messages / (time.perf_counter() - began)


@asynccontextmanager
async def opened(port: int, connections: int) -> AsyncIterator[SmtpRelay]:
    settings = {"host": "127.0.0.1", "port": port, "security": "none", "connections": connections, "hello": "a.test"}
    async with SmtpRelay(SmtpRelaySettings.model_validate(settings), messages=1_000_000) as relay:
        yield relay


def by_ours(port: int, messages: int, connections: int) -> tuple[float, float]:
    """Messages a second of the transport, and microseconds of processor time for each."""

    async def begin() -> None:
        """No database here."""

    async def run() -> tuple[float, float]:
        numbers = iter(range(messages))

        async def work(relay: SmtpRelay) -> None:
            for _ in numbers:
                (outcome,) = await relay.send(Envelope("crm@bench.test", ("ann@bench.test",), CONTENT), begin)
                assert outcome.state == "accepted", outcome

        async with opened(port, connections) as relay:
            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(work(relay) for _ in range(connections)))
            took = time.perf_counter() - began
            return messages / took, (time.process_time() - cpu) / messages * 1e6

    return uvloop.run(run())


def compare(name: str, port: int, messages: int, connections: int, rounds: int) -> None:
    theirs, ours, cpu = [], [], []
    for _ in range(rounds):
        theirs.append(by_smtp_source(port, messages, connections))
        speed, each = by_ours(port, messages, connections)
        ours.append(speed)
        cpu.append(each)
    source, transport = statistics.median(theirs), statistics.median(ours)
    print(
        f"{name}: smtp-source {source:,.0f}/s, transport {transport:,.0f}/s ({transport / source:.0%}), "
        f"{statistics.median(cpu):.0f} µs of processor time for each"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with sink() as port:
        compare("smtp-sink, 8 connections", port, arguments.messages, 8, arguments.rounds)
    with slow(0.02) as port:
        compare("20 ms, 64 connections", port, arguments.messages, 64, arguments.rounds)


if __name__ == "__main__":
    main()
