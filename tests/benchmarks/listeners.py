"""How fast mail servers can hand mail to the router: python -m tests.benchmarks.listeners [--messages NUMBER]

8 KB messages over 1, 8 and 32 connections, by SMTP and LMTP, over TCP and a Unix socket, beside Dovecot's LMTP into
Maildir; everything is on this machine, and both PostgreSQL and Dovecot answer once it is on disk (fsync). All are for
one mailbox, unless `--mailboxes` asks for more, which then take turns. The ways take turns, too, and each figure is the
median of the rounds.

The latency is that from the final dot to the answer, which comes after the commit. The processor's time is that of the
router with its workers, or of Dovecot, in milliseconds a message. The last column is messages a second as a part of
Dovecot's over as many connections.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from statistics import median

import asyncpg
import uvloop

from tests.benchmarks.cpu import Cpu
from tests.benchmarks.hand_over import Envelope, hand_over_by_many, listens
from tests.benchmarks.stage import Stage, staged
from tests.servers.ports import free_port

CONNECTIONS = (1, 8, 32)
TEXT = b"The quick brown fox jumps over\r\nthe lazy dog, and the dog sleeps on.\r\n" * 115
PROFILE = """
[incoming.{domain}]
transport = "{kind}"
listen = "{listen}"
owners = ["*@{domain}.test"]
rule = "all"
"""

NUMBERS = count()


@dataclass(frozen=True)
class Way:
    """Who is handed the mail, and where: a port, or the path of a Unix socket. Its mailboxes have this domain."""

    name: str
    kind: str
    where: int | str
    domain: str = ""

    @property
    def profile(self) -> str:
        listen = f"127.0.0.1:{self.where}" if isinstance(self.where, int) else f"unix:{self.where}"
        return PROFILE.format(domain=self.domain, kind=self.kind, listen=listen)

    def mailboxes(self, number: int) -> Sequence[str]:
        return [f"ann{of}@{self.domain or 'in'}.test" for of in range(number)]


@dataclass(frozen=True)
class Handed:
    """What one run took: messages a second, milliseconds of latency, messages a commit, milliseconds of CPU each."""

    speed: float
    middle: float
    slow: float
    a_commit: float
    cpu: float


def letters(number: int, mailboxes: Sequence[str]) -> Iterator[Envelope]:
    """So many letters that never came before, to the mailboxes in turn."""
    for _, mailbox in zip(range(number), cycle(mailboxes), strict=False):
        head = (
            b"From: karl@kunde.test\r\nTo: ann@in.test\r\nSubject: A letter\r\n"
            b"Date: Sat, 21 Nov 2026 01:02:03 +0000\r\nMessage-ID: <%d@kunde.test>\r\n\r\n" % next(NUMBERS)
        )
        yield [mailbox], head + TEXT


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.listeners")
    parser.add_argument("--messages", type=int, default=1000, help="over each number of connections, in each round")
    parser.add_argument("--mailboxes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    async with staged("listen", mail_fsync=True) as stage:
        ways = [
            Way("SMTP, TCP", "smtp", free_port(), "smtp"),
            Way("LMTP, TCP", "lmtp", free_port(), "lmtp"),
            Way("LMTP, Unix socket", "lmtp", str(stage.folder / "socket"), "socket"),
        ]
        profile = "".join(way.profile for way in ways)
        owners = [mailbox for way in ways for mailbox in way.mailboxes(options.mailboxes)]
        async with stage.database(owners) as dsn, stage.process(dsn, profile) as router:
            for way in ways:
                while not await listens(way.where):
                    await asyncio.sleep(0.05)
            bench = Bench(stage, router, await asyncpg.connect(dsn), options.messages, options.mailboxes)
            dovecot = Way("Dovecot LMTP, Maildir", "lmtp", stage.dovecot.lmtp)
            runs: dict[tuple[Way, int], list[Handed]] = {
                (way, connections): [] for connections in CONNECTIONS for way in (*ways, dovecot)
            }
            for _ in range(options.rounds):
                for (way, connections), of_way in runs.items():
                    of_way.append(await bench.measure(way, connections))
            await bench.close(len(ways) * len(CONNECTIONS) * options.messages * options.rounds)
    print(f"{'':24}connections  messages/s  median ms     95% ms   a commit     CPU ms  of Dovecot")
    for (way, connections), of_way in runs.items():
        figures = [median(getattr(run, figure) for run in of_way) for figure in ("speed", "middle", "slow")]
        figures.append(figures[0] / median(run.speed for run in runs[dovecot, connections]))
        used, a_commit = median(run.cpu for run in of_way), median(run.a_commit for run in of_way)
        print(f"{way.name:24}{connections:11}{figures[0]:12.0f}{figures[1]:11.1f}{figures[2]:11.1f}", end="")
        print(f"{a_commit:11.1f}{used:11.2f}{figures[3]:12.2f}")


@dataclass
class Bench:
    """One router with all the listeners, beside Dovecot."""

    stage: Stage
    router: asyncio.subprocess.Process
    sql: "asyncpg.Connection[asyncpg.Record]"
    messages: int
    mailboxes: int
    decided: int = 0

    async def measure(self, way: Way, connections: int) -> Handed:
        waiting = letters(self.messages, way.mailboxes(self.mailboxes))
        before, began = self.stage.cpu(self.router), time.perf_counter()
        seconds = await hand_over_by_many(way.where, waiting, connections, way.kind)
        taken, used = time.perf_counter() - began, self.stage.cpu(self.router) - before
        return Handed(
            len(seconds) / taken,
            median(seconds) * 1000,
            seconds[len(seconds) * 95 // 100] * 1000,
            await self._a_commit() if way.domain else 1,
            self._of(used, way) * 1000 / len(seconds),
        )

    def _of(self, used: Cpu, way: Way) -> float:
        return used.ours if way.domain else used.mail_server

    async def _a_commit(self) -> float:
        (new,) = await self.sql.fetch(
            "SELECT count(DISTINCT xmin::text) AS commits, count(*) AS messages, max(id) AS last "
            "FROM router.decision WHERE id > $1",
            self.decided,
        )
        self.decided = new["last"]
        return float(new["messages"] / new["commits"])

    async def close(self, expected: int) -> None:
        stored = await self.sql.fetchval("SELECT count(*) FROM crm.email")
        await self.sql.close()
        if stored != expected:
            raise AssertionError(f"{stored} emails")


if __name__ == "__main__":
    uvloop.run(main())
