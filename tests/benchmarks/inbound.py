"""How fast the router drains mailboxes into PostgreSQL: python -m tests.benchmarks.inbound [--against FOLDER …]

10,000 messages (`corpus.py`) in four mailboxes of a Dovecot of its own, over TLS, by one router process and by two;
everything, PostgreSQL with fsync too, is on this machine. Beside it django-mailbox (`django_mailbox.py` says what it
does and what not) drains the first 1,000 of them out of mailboxes of its own, since it takes so much longer, into the
same PostgreSQL; and so does the router of other working copies, all 10,000, such as of an older commit:

    git worktree add ../old a44c595 && python -m tests.benchmarks.inbound --against ../old

A working copy is run by its own `.venv` if it has one, else by the interpreter that runs this. All of them take turns,
and each figure is the median of the rounds.

Messages a second are from when the first mailbox is held to the last decision. The processor's time is that of the
same while, in milliseconds a message, by kind of process; what a router uses before, until it waits for mailboxes, is
the start, in seconds. Workers are loaded when the first message comes, so that is not in the start.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import asyncpg

from tests.benchmarks import django_mailbox
from tests.benchmarks.corpus import THREAD, fill, mark_unread
from tests.benchmarks.cpu import Cpu
from tests.benchmarks.django import Program
from tests.benchmarks.stage import HERE, Stage, staged

MAILBOXES = [f"drain-{number}@in.test" for number in range(4)]
KINDS: dict[str, Callable[[Cpu], float]] = {
    "ours": lambda cpu: cpu.ours,
    "router": lambda cpu: cpu.router,
    "workers": lambda cpu: cpu.workers,
    "PostgreSQL": lambda cpu: cpu.postgresql,
    "Dovecot": lambda cpu: cpu.mail_server,
}


@dataclass(frozen=True)
class Drained:
    """What one drain took: messages a second, and seconds of the processor before the first message, and since."""

    speed: float
    start: float
    cpu: Cpu


async def drain(stage: Stage, tree: Path, processes: int, count: int) -> Drained:
    """Drain all mailboxes by so many routers of a working copy."""
    await asyncio.to_thread(mark_unread, stage.dovecot.connect, MAILBOXES)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(stage.database(MAILBOXES, tree))
        sql = await asyncpg.connect(dsn)
        await sql.execute("UPDATE crm.owner SET approved = false")
        routers = [
            await stack.enter_async_context(stage.router(dsn, "all", "seen", tree, LEASE="2")) for _ in range(processes)
        ]
        while await sql.fetchval("SELECT count(*) FROM router.process") < processes:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)  # they look for mailboxes, and find none
        before = stage.cpu(*routers)
        await sql.execute("UPDATE crm.owner SET approved = true")
        while not await sql.fetchval("SELECT count(*) FROM router.source WHERE process_id IS NOT NULL"):
            await asyncio.sleep(0.01)
        begun = time.perf_counter()
        while (left := count - await sql.fetchval("SELECT count(*) FROM router.decision")) > 0:
            await asyncio.sleep(min(0.5, left / 5_000))  # each look costs PostgreSQL something
        seconds = time.perf_counter() - begun
        used = stage.cpu(*routers) - before
        promoted = await sql.fetchval("SELECT count(*) FROM crm.email")
        correlated = await sql.fetchval("SELECT count(*) FROM crm.email WHERE correlated_id IS NOT NULL")
        if promoted != count or correlated != count * (THREAD - 1) // THREAD:
            raise AssertionError(f"{promoted} emails, {correlated} of them in threads")
        await sql.close()
    return Drained(count / seconds, before.ours, used)


def show(name: str, runs: Sequence[Drained], count: int) -> None:
    row = f"{name:24}{median(run.speed for run in runs):11.0f}{median(run.start for run in runs):8.1f} s"
    for used in KINDS.values():
        row += f"{median(used(run.cpu) for run in runs) * 1000 / count:11.2f}"
    print(row)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.inbound")
    parser.add_argument("--messages", type=int, default=10_000, help="a multiple of 8; start-up counts in less")
    parser.add_argument("--django-messages", type=int, default=1_000, help="for django-mailbox; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--against", type=Path, nargs="+", default=[], help="working copies of other commits")
    options = parser.parse_args()
    trees = {"": HERE} | {folder.resolve().name: folder.resolve() for folder in options.against}
    ours: dict[tuple[str, int], list[Drained]] = {(name, many): [] for name in trees for many in options.processes}
    theirs: list[tuple[float, float]] = []
    async with staged("inbound") as stage:
        django = await Program.installed(django_mailbox.APPLICATION) if options.django_messages else None
        sizes = await asyncio.to_thread(fill, stage.dovecot.connect, MAILBOXES, options.messages)
        middle, large = (sizes[len(sizes) * part // 100] / 1000 for part in (50, 95))
        print(f"{len(sizes)} messages, {sum(sizes) / 1e6:.0f} MB, median {middle:.0f} KB, ", end="")
        print(f"95th percentile {large:.0f} KB; medians of {options.rounds} rounds")
        for _ in range(options.rounds):
            for (name, processes), runs in ours.items():
                runs.append(await drain(stage, trees[name], processes, options.messages))
            if django is not None:
                theirs.append(await django_mailbox.drain(django, stage, options.django_messages))
    print(f"{'':24} messages/s     start" + "".join(f"{kind:>11}" for kind in KINDS) + "  ms of CPU a message")
    for (name, processes), runs in ours.items():
        show(f"{name} {processes} process{'es' if processes > 1 else ''}".strip(), runs, options.messages)
    if django is not None:
        print(f"{'django-mailbox':24}{median(speed for speed, _ in theirs):11.0f}{'':10}", end="")
        print(f"{median(used for _, used in theirs):11.2f}  {options.django_messages} messages; {django.versions}")
    for processes in options.processes:
        speed = median(run.speed for run in ours["", processes])
        others = {name: median(run.speed for run in ours[name, processes]) for name in trees if name}
        if theirs:
            others["django-mailbox"] = median(speed for speed, _ in theirs)
        for name, their in others.items():
            print(f"{processes} process{'es' if processes > 1 else ''}: {speed / their:.2f} times {name}")


if __name__ == "__main__":
    asyncio.run(main())
