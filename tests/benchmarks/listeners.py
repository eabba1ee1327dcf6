"""How fast mail servers can hand mail to the router: python -m tests.benchmarks.listeners [MESSAGES]

8 KB messages over 1, 8 and 32 connections, by SMTP and LMTP, over TCP and a Unix socket, beside Dovecot's LMTP into
Maildir; everything, PostgreSQL and Maildir with fsync too, is on this machine. The latency is that from the final dot
to the answer, which comes after the commit.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import uvloop

from tests.benchmarks.stage import Stage, staged
from tests.servers.ports import free_port

MAILBOX = "ann@in.test"
CONNECTIONS = (1, 8, 32)
TEXT = b"The quick brown fox jumps over the lazy dog.\r\n" * 175

PROFILE = """
[incoming.bench]
transport = "{kind}"
listen = "{listen}"
owners = ["*@in.test"]
rule = "all"
"""


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
    seconds = sorted(sum(await asyncio.gather(*(deliver(way, waiting) for _ in range(connections))), []))
    taken = time.perf_counter() - began
    median, slow = statistics.median(seconds) * 1000, seconds[len(seconds) * 95 // 100] * 1000
    return f"{count / taken:5.0f}/s  {median:6.1f} ms  {slow:6.1f} ms"


async def listens(way: Way) -> bool:
    try:
        await deliver(way, iter(()))
    except OSError:
        return False
    return True


@asynccontextmanager
async def router(stage: Stage, way: Way, listen: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A router that listens, with a database of its own."""
    profile = PROFILE.format(kind=way.kind, listen=listen)
    async with stage.database([MAILBOX]) as dsn, stage.process(dsn, profile):
        sql = await asyncpg.connect(dsn)
        try:
            while not await listens(way):
                await asyncio.sleep(0.05)
            yield sql
        finally:
            await sql.close()


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    async with staged(Path(__file__).stem) as stage:
        port = free_port()
        path = str(stage.folder / "socket")
        print(f"{'':22}" + "".join(f"{f'{number} connections':^30}" for number in CONNECTIONS))
        print(f"{'':22}" + "       messages  median     95% " * len(CONNECTIONS))
        ways = {
            "SMTP, TCP": (Way("SMTP, TCP", "smtp", port), f"127.0.0.1:{port}"),
            "LMTP, TCP": (Way("LMTP, TCP", "lmtp", port), f"127.0.0.1:{port}"),
            "LMTP, Unix socket": (Way("LMTP, Unix socket", "lmtp", path), f"unix:{path}"),
        }
        for name, (way, listen) in ways.items():
            async with router(stage, way, listen) as sql:
                cells = []
                for round_, connections in enumerate(CONNECTIONS):
                    before = await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM router.decision")
                    cells.append(await measure(way, count, connections, round_))
                    commits = await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM router.decision") - before
                    cells[-1] += f" ({count / commits:.1f} a commit)"
                stored = await sql.fetchval("SELECT count(*) FROM crm.email")
                if stored != count * len(CONNECTIONS):
                    raise AssertionError(f"{stored} emails")
            print(f"{name:22}" + "".join(f"{cell:30}" for cell in cells), flush=True)
        dovecot = Way("Dovecot", "lmtp", stage.dovecot.lmtp)
        cells = [await measure(dovecot, count, connections, 9) for connections in CONNECTIONS]
        print(f"{'Dovecot LMTP, Maildir':22}" + "".join(f"{cell:30}" for cell in cells), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
