"""Whether a message costs more the more there is.

python -m tests.benchmarks.growth [--rounds N] [emails] [owners] [sources]

    emails    answers to random emails from random contacts, where the CRM has 10,000 emails, contacts, addresses, and
              1,000,000; and how many rows PostgreSQL reads for each, by indexes, and in tables from end to end
    owners    one mail to one owner each, and one mail to 2,000 owners: with all its recipients at once, and one by one
    sources   2,000 messages in ten Maildirs, where no others are followed, and where 1,990 others are at rest

What is compared is the processor's time for each message, of router, workers and PostgreSQL together, since what waits
for the disk differs from one minute to the next. For one mail of 2,000 owners it is the time for each owner, since each
has a decision and a receipt of its own; for sources it is without what following them costs at rest. A listener takes
the mail of the first two, by LMTP over eight connections. The small and the large take turns. Each figure is the median
of the rounds; the last is the large one as a part of the small.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

import asyncpg
import uvloop

from tests.benchmarks.cpu import Cpu
from tests.benchmarks.hand_over import Envelope, hand_over_by_many, listens
from tests.benchmarks.history import fill
from tests.benchmarks.stage import Stage, staged
from tests.servers.ports import free_port
from tests.support.maildirs import deliver, make_maildir

MESSAGES = 500  # of a round
REST = 20  # seconds
TOLD = 11  # seconds, until what a connection at rest has read is counted
WARM = 100  # messages before anything is measured: statements are prepared then, and workers started
CONNECTIONS = 8
OWNERS = 2_000
TEXT = b"The quick brown fox jumps over\r\nthe lazy dog, and the dog sleeps on.\r\n" * 20

LISTENER = """
[incoming.bench]
transport = "lmtp"
listen = "127.0.0.1:{port}"
max_recipients = 2000
owners = ["*@in.test"]
rule = "all"
"""

BUSY = 10  # of the sources have mail
MAILDIRS = """
[incoming.{name}]
transport = "maildir"
path = "{path}/{{mailbox}}"
owners = {owners}
poll = {poll}
rule = "all"
"""

numbers = count()


@dataclass(frozen=True)
class Cost:
    """Milliseconds for each message: on the processor, by the router with its workers and by PostgreSQL; and in all."""

    router: float
    postgresql: float
    passed: float

    @classmethod
    def of(cls, used: Cpu, seconds: float, messages: int) -> Self:
        return cls(*(of_all * 1000 / messages for of_all in (used.ours, used.postgresql, seconds)))

    @property
    def cpu(self) -> float:
        return self.router + self.postgresql

    def over(self, rest: "Cost") -> "Cost":
        """Without what the same time at rest costs; `rest` is that of a second."""
        seconds = self.passed / 1000
        return Cost(self.router - rest.router * seconds, self.postgresql - rest.postgresql * seconds, self.passed)


class Costs:
    """What was measured, by name; `measured` shows it."""

    def __init__(self) -> None:
        self._of: dict[str, list[Cost]] = {}

    def add(self, name: str, cost: Cost) -> None:
        self._of.setdefault(name, []).append(cost)

    def show(self, *pairs: tuple[str, str]) -> None:
        """Print all medians, and how the second of each pair compares with its first."""
        for name, costs in self._of.items():
            row = (
                median(getattr(cost, figure) for cost in costs) for figure in ("router", "postgresql", "cpu", "passed")
            )
            print(f"{name:44}" + "".join(f"{figure:12.2f}" for figure in row))
        for small, large in pairs:
            ratio = median(cost.cpu for cost in self._of[large]) / median(cost.cpu for cost in self._of[small])
            print(f"{large}: {ratio:.2f} of {small}")
        print(flush=True)


class Rows(NamedTuple):
    """Rows that PostgreSQL read: as indexes led to them, and in tables from end to end."""

    by_index: int
    end_to_end: int

    def __sub__(self, other: "Rows") -> "Rows":
        return Rows(self.by_index - other.by_index, self.end_to_end - other.end_to_end)


@dataclass(frozen=True)
class Meter:
    """A router at work, and what it costs."""

    stage: Stage
    router: asyncio.subprocess.Process
    sql: "asyncpg.Connection[asyncpg.Record]"
    port: int = 0

    async def hand_over(self, envelopes: Sequence[Envelope], connections: int = CONNECTIONS) -> Cost:
        """Hand over by LMTP; the cost for each recipient."""
        before, began = self.stage.cpu(self.router), time.perf_counter()
        await hand_over_by_many(self.port, iter(envelopes), connections)
        copies = sum(len(recipients) for recipients, _ in envelopes)
        return Cost.of(self.stage.cpu(self.router) - before, time.perf_counter() - began, copies)

    async def rows_read(self) -> Rows:
        """How many rows were read so far, but for those of small tables."""
        await asyncio.sleep(TOLD)
        row = await self.sql.fetchrow(
            """
            SELECT sum(idx_tup_fetch)::bigint,
                coalesce(sum(seq_tup_read) FILTER (WHERE n_live_tup > 1000), 0)::bigint
            FROM pg_stat_user_tables
            """
        )
        assert row is not None
        return Rows(*row)

    async def rest(self) -> Cost:
        """The cost of a second in which nothing comes."""
        before = self.stage.cpu(self.router)
        await asyncio.sleep(REST)
        return Cost.of(self.stage.cpu(self.router) - before, REST, REST)


def letter(sender: str = "karl@kunde.test", answers: str = "") -> bytes:
    """Return a message that never came before."""
    head = f"From: {sender}\r\nTo: ann@in.test\r\nSubject: A letter\r\nDate: Sat, 21 Nov 2026 01:02:03 +0000\r\n"
    head += f"Message-ID: <new.{next(numbers)}@kunde.test>\r\n" + (f"In-Reply-To: <{answers}>\r\n" if answers else "")
    return head.encode() + b"\r\n" + TEXT


async def listening(stack: AsyncExitStack, stage: Stage, dsn: str) -> Meter:
    port = free_port()
    router = await stack.enter_async_context(stage.process(dsn, LISTENER.format(port=port)))
    while not await listens(port):
        await asyncio.sleep(0.05)
    sql = await asyncpg.connect(dsn)
    stack.push_async_callback(sql.close)
    return Meter(stage, router, sql, port)


async def measure_emails(stage: Stage, rounds: int) -> None:
    dice = random.Random(1)

    def answers(emails: int, number: int) -> list[Envelope]:
        chosen = (dice.randint(1, emails) for _ in range(number))
        return [(["ann@in.test"], letter(f"kunde{n}@kunde.test", f"{n}@kunde.test")) for n in chosen]

    async with AsyncExitStack() as stack:
        meters = {}
        for emails in (10_000, 1_000_000):
            dsn = await stack.enter_async_context(stage.database(["ann@in.test"]))
            began = time.perf_counter()
            await fill(stage.superuser_dsn(dsn), emails)
            print(f"{emails:,} emails made in {time.perf_counter() - began:.0f} s", flush=True)
            meters[emails] = await listening(stack, stage, dsn)
            await meters[emails].hand_over(answers(emails, WARM))
        costs = Costs()
        before = {emails: await meter.rows_read() for emails, meter in meters.items()}
        for _ in range(rounds):
            for emails, meter in meters.items():
                costs.add(f"{emails:,} emails", await meter.hand_over(answers(emails, MESSAGES)))
        for meter in meters.values():
            linked = await meter.sql.fetchval("SELECT count(*) FROM crm.email WHERE correlated_id IS NOT NULL")
            if linked != WARM + rounds * MESSAGES:
                raise AssertionError(f"{linked} answers were linked")
        for emails, meter in meters.items():
            by_index, end_to_end = await meter.rows_read() - before[emails]
            number = rounds * MESSAGES
            print(f"{emails:,} emails: {by_index / number:.1f} rows read a message by indexes", end="")
            print(f", {end_to_end / number:.1f} in tables from end to end")
    costs.show(("10,000 emails", "1,000,000 emails"))


async def measure_owners(stage: Stage, rounds: int) -> None:
    owners = [f"owner{number}@in.test" for number in range(OWNERS)]
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(stage.database(owners))
        meter = await listening(stack, stage, dsn)
        await meter.hand_over([([owner], letter()) for owner in owners[:WARM]])
        costs = Costs()
        for rule in ("all", "known"):
            await meter.sql.execute("UPDATE crm.owner SET tracking_rule = $1", rule)
            what = "promoted" if rule == "all" else "ignored"
            for _ in range(rounds):
                costs.add(f"{what}, a mail each", await meter.hand_over([([owner], letter()) for owner in owners]))
                same = letter()
                costs.add(f"{what}, one mail, 2,000 at once", await meter.hand_over([(owners, same)]))
                same = letter()
                costs.add(f"{what}, one mail, one by one", await meter.hand_over([([owner], same) for owner in owners]))
        counted = await meter.sql.fetch("SELECT disposition, count(*) FROM router.decision GROUP BY 1")
        expected = {"promoted": WARM + rounds * (OWNERS + 2), "ignored": 3 * rounds * OWNERS}
        if {row["disposition"]: row["count"] for row in counted} != expected | {"duplicate": 2 * rounds * (OWNERS - 1)}:
            raise AssertionError(f"{counted} were decided")
    costs.show(
        ("promoted, a mail each", "promoted, one mail, 2,000 at once"),
        ("promoted, a mail each", "promoted, one mail, one by one"),
        ("ignored, a mail each", "ignored, one mail, 2,000 at once"),
        ("ignored, a mail each", "ignored, one mail, one by one"),
    )


async def measure_sources(stage: Stage, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        followed = {number: await following(stack, stage, number) for number in (BUSY, OWNERS)}
        rest = {number: await meter.rest() for number, (meter, _) in followed.items()}
        for number, cost in rest.items():
            print(f"{number:,} sources at rest: {cost.cpu / 10:.2f}% of a processor", flush=True)
        costs = Costs()
        for _ in range(rounds):
            for number, (meter, maildirs) in followed.items():
                costs.add(f"{number:,} sources", (await drop(meter, maildirs, 4 * MESSAGES)).over(rest[number]))
    costs.show((f"{BUSY} sources", f"{OWNERS:,} sources"))


async def following(stack: AsyncExitStack, stage: Stage, number: int) -> tuple[Meter, Sequence[Path]]:
    """Start a router that follows so many Maildirs; return those that are to have mail."""
    mailboxes = [f"owner@{'busy' if name < BUSY else 'idle'}-{name}.test" for name in range(number)]
    folder = stage.folder / f"of-{number}"
    maildirs = [await asyncio.to_thread(make_maildir, folder / mailbox) for mailbox in mailboxes]
    dsn = await stack.enter_async_context(stage.database(mailboxes))
    profiles = MAILDIRS.format(name="busy", path=folder, owners=json.dumps(mailboxes[:BUSY]), poll=1)
    if number > BUSY:
        profiles += MAILDIRS.format(name="idle", path=folder, owners=json.dumps(mailboxes[BUSY:]), poll=3600)
    router = await stack.enter_async_context(stage.process(dsn, profiles))
    sql = await asyncpg.connect(dsn)
    stack.push_async_callback(sql.close)
    meter = Meter(stage, router, sql)
    while await sql.fetchval("SELECT count(*) FROM router.source WHERE cursor IS NOT NULL") < number:
        await asyncio.sleep(0.1)
    await drop(meter, maildirs[:BUSY], WARM)
    return meter, maildirs[:BUSY]


async def drop(meter: Meter, maildirs: Sequence[Path], number: int) -> Cost:
    """Deliver so many messages into the Maildirs in turn, and wait until all are decided."""
    decided = await meter.sql.fetchval("SELECT count(*) FROM router.decision")
    before, began = meter.stage.cpu(meter.router), time.perf_counter()
    await asyncio.to_thread(lambda: [deliver(maildirs[n % len(maildirs)], letter()) for n in range(number)])
    while await meter.sql.fetchval("SELECT count(*) FROM router.decision") < decided + number:
        await asyncio.sleep(0.1)
    return Cost.of(meter.stage.cpu(meter.router) - before, time.perf_counter() - began, number)


MEASURES = {"emails": measure_emails, "owners": measure_owners, "sources": measure_sources}


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("what", nargs="*", choices=[[], *MEASURES], default=[*MEASURES])
    options = parser.parse_args()
    async with staged("growth") as stage:
        for what in options.what:
            print(f"{'ms a message, by':44}      router  PostgreSQL        both      passed", flush=True)
            await MEASURES[what](stage, options.rounds)


if __name__ == "__main__":
    uvloop.run(main())
