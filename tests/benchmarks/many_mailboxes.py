"""What many mailboxes at rest cost one router: python -m tests.benchmarks.many_mailboxes [NUMBER …]

The real router, with PostgreSQL and Dovecot of their own on this machine, follows so many mailboxes (300 and 500) over
TLS, each with a connection of its own. Memory is that of the router's process, divided by the mailboxes; the processor
is its own too, over 20 seconds of rest; latency is from the delivery's 250 to the row in crm.email, of 40 messages to
mailboxes at random, one a second.
"""

import asyncio
import random
import resource
import sys
import time
from pathlib import Path
from statistics import quantiles

import asyncpg

from tests.benchmarks.cpu import usage
from tests.benchmarks.stage import Stage, staged
from tests.support.letters import letter

REST = 20
LETTERS = 40
BEGUN = "SELECT count(*) FROM router.source WHERE begins_at < 'infinity' AND fault IS NULL"


async def measure(stage: Stage, count: int) -> None:
    mailboxes = [f"rest-{number}@in.test" for number in range(count)]
    async with stage.database(mailboxes) as dsn, stage.router(dsn) as process:
        sql = await asyncpg.connect(dsn)
        while await sql.fetchval("SELECT count(*) FROM router.process") < 1:
            await asyncio.sleep(0.1)
        empty, begun = resident(process.pid), time.perf_counter()
        while await sql.fetchval(BEGUN) < count:
            await asyncio.sleep(0.2)
        seconds = time.perf_counter() - begun
        await asyncio.sleep(15)
        each = (resident(process.pid) - empty) / count / 1024
        before = usage(process.pid).own
        await asyncio.sleep(REST)
        cpu = (usage(process.pid).own - before) / REST * 100
        print(
            f"{count} mailboxes: all read after {seconds:.0f} s, {each:.0f} KB each, {cpu:.2f}% of a processor at rest"
        )
        late = [await latency(stage, sql, mailbox, number) for number, mailbox in enumerate(chosen(mailboxes), 1)]
        cuts = quantiles(late, n=20)
        print(f"  from delivery to row: median {cuts[9]:.0f} ms, 95% within {cuts[18]:.0f} ms", flush=True)
        await sql.close()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def chosen(mailboxes: list[str]) -> list[str]:
    return random.Random(1).sample(mailboxes, LETTERS)


async def latency(stage: Stage, sql: "asyncpg.Connection[asyncpg.Record]", mailbox: str, number: int) -> float:
    """Milliseconds until one message is a row."""
    await asyncio.sleep(1)
    await asyncio.to_thread(stage.dovecot.deliver, mailbox, letter("karl@kunde.test", mailbox))
    begun = time.perf_counter()
    while await sql.fetchval("SELECT count(*) FROM crm.email") < number:
        await asyncio.sleep(0.002)
    return (time.perf_counter() - begun) * 1000


async def main() -> None:
    async with staged(Path(__file__).stem) as stage:
        for count in [int(word) for word in sys.argv[1:]] or [300, 500]:
            await measure(stage, count)


if __name__ == "__main__":
    asyncio.run(main())
