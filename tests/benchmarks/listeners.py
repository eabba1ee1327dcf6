"""How fast mail servers can hand mail to the router: python -m tests.benchmarks.listeners [MESSAGES]

8 KB messages over 1, 8 and 32 connections, by SMTP and LMTP, over TCP and a Unix socket, beside Dovecot's LMTP into
Maildir; everything, PostgreSQL and Maildir with fsync too, is on this machine. The latency is that from the final dot
to the answer, which comes after the commit.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import asyncpg
import uvloop

from tests.benchmarks.stage import Stage, staged
from tests.servers.ports import free_port

MAILBOX = "ann@in.test"
CONNECTIONS = (1, 8, 32)
TEXT = b"The quick brown fox jumps over\r\nthe lazy dog, and the dog sleeps on.\r\n" * 115

PROFILE = """
[incoming.bench]
transport = "{kind}"
listen = "{listen}"
owners = ["*@in.test"]
rule = "all"
"""

COMMITS = "SELECT count(DISTINCT xmin::text) FROM router.decision"


@dataclass(frozen=True)
class Way:
    """Who is handed the mail, and where: a port, or the path of a Unix socket."""

    name: str
    kind: str
    where: int | str


def letters(count: int, round_: int) -> Iterator[bytes]:
    for number in range(count):
        yield (
            b"From: karl@kunde.test\r\nTo: ann@in.test\r\nSubject: A letter\r\n"
            b"Date: Sat, 21 Nov 2026 01:02:03 +0000\r\nMessage-ID: <%d.%d@kunde.test>\r\n\r\n" % (round_, number)
        ) + TEXT


async def deliver(way: Way, waiting: Iterator[bytes]) -> list[float]:
    """Hand over what waits over one connection; seconds from each final dot to its answer."""
    if isinstance(way.where, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", way.where)
    else:
        reader, writer = await asyncio.open_unix_connection(way.where)

    async def say(line: bytes) -> bytes:
        writer.write(line)
        while (reply := await reader.readline())[3:4] == b"-":
            pass
        return reply

    seconds = []
    await reader.readline()
    await say(b"LHLO bench.test\r\n" if way.kind == "lmtp" else b"EHLO bench.test\r\n")
    for letter in waiting:
        await say(b"MAIL FROM:<karl@kunde.test>\r\n")
        await say(b"RCPT TO:<ann@in.test>\r\n")
        await say(b"DATA\r\n")
        writer.write(letter)
        began = time.perf_counter()
        answer = await say(b".\r\n")
        seconds.append(time.perf_counter() - began)
        if not answer.startswith(b"250"):
            raise AssertionError(answer)
    writer.close()
    return seconds


async def measure(way: Way, count: int, connections: int, round_: int) -> str:
    waiting = letters(count, round_)
    began = time.perf_counter()
    seconds = sorted(chain.from_iterable(await asyncio.gather(*(deliver(way, waiting) for _ in range(connections)))))
    taken = time.perf_counter() - began
    median, slow = statistics.median(seconds) * 1000, seconds[len(seconds) * 95 // 100] * 1000
    return f"{connections:3} connections: {count / taken:5.0f} messages/s, median {median:6.1f} ms, 95% {slow:6.1f} ms"


async def listens(way: Way) -> bool:
    try:
        await deliver(way, iter(()))
    except OSError:
        return False
    return True


def cpu_seconds(pid: int) -> float:
    """What the process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_router(stage: Stage, way: Way, count: int) -> None:
    listen = f"127.0.0.1:{way.where}" if isinstance(way.where, int) else f"unix:{way.where}"
    profile = PROFILE.format(kind=way.kind, listen=listen)
    async with stage.database([MAILBOX]) as dsn, stage.process(dsn, profile) as process:
        sql = await asyncpg.connect(dsn)
        while not await listens(way):
            await asyncio.sleep(0.05)
        for round_, connections in enumerate(CONNECTIONS):
            commits, used = await sql.fetchval(COMMITS), cpu_seconds(process.pid)
            figures = await measure(way, count, connections, round_)
            used, commits = cpu_seconds(process.pid) - used, await sql.fetchval(COMMITS) - commits
            figures += f", {count / commits:4.1f} messages a commit, {used * 1000 / count:.1f} ms of CPU each"
            print(f"{way.name:24}{figures}", flush=True)
        stored = await sql.fetchval("SELECT count(*) FROM crm.email")
        await sql.close()
        if stored != count * len(CONNECTIONS):
            raise AssertionError(f"{stored} emails")


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    async with staged(Path(__file__).stem) as stage:
        port = free_port()
        await measure_router(stage, Way("SMTP, TCP", "smtp", port), count)
        await measure_router(stage, Way("LMTP, TCP", "lmtp", port), count)
        await measure_router(stage, Way("LMTP, Unix socket", "lmtp", str(stage.folder / "socket")), count)
        for connections in CONNECTIONS:
            figures = await measure(Way("", "lmtp", stage.dovecot.lmtp), count, connections, 0)
            print(f"{'Dovecot LMTP, Maildir':24}{figures}", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
