"""A ruling on an address of which 100,000 emails wait, and how long new mail takes meanwhile.

python -m tests.benchmarks.rulings [EMAILS [OTHERS]]

There are as many emails of others again, each of another address, so that PostgreSQL expects few of any address.
New mail comes in one by one, of that address and of another in turn, and after every ten of them a batch of 100, of
both: while nothing is ruled, while the ruling is carried out, and while its undoing is. Told are how long each phase
takes, and the median and the longest of the times that a message and a batch take, in milliseconds. At the end all
parties are as they were.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from router import log
from router.postgres.embedded import EmbeddedServer
from router.repository import rulings, unresolved
from router.repository.connect import accepts_sessions
from router.repository.database import Database
from router.repository.migrate import migrate
from router.repository.registry import Source, register
from tests.benchmarks.history import fill
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders, flood_of

KARL, BERTA = "karl@kunde.test", "berta@other.test"
EMAILS: Final = 100_000
OTHERS: Final = 100_000
BATCH: Final = 100
PAUSE: Final = 0.1  # seconds
CALM: Final = 5.0  # seconds in which nothing is ruled, for comparison


async def _measure(senders: Senders, what: str, work: Callable[[], Awaitable[object]]) -> None:
    lone: list[float] = []
    batches: list[float] = []
    began = time.perf_counter()
    task = asyncio.ensure_future(work())
    while not task.done():
        lone += [await _bring_in(senders, [sender]) for sender in (KARL, BERTA) * 5]
        batches.append(await _bring_in(senders, [KARL, BERTA] * (BATCH // 2)))
    await task
    took = time.perf_counter() - began
    sys.stdout.write(f"{what:<7} {took:6.1f} s   {_told(lone, 'messages')}   {_told(batches, f'batches of {BATCH}')}\n")


async def _bring_in(senders: Senders, of: Sequence[str]) -> float:
    """Let a batch of new mail of these senders come in; return the milliseconds that it takes."""
    batch = [senders.copy(senders.message(sender)) for sender in of]
    handed_over = time.perf_counter()
    await senders.promote(batch)
    return (time.perf_counter() - handed_over) * 1000


def _told(times: Sequence[float], what: str) -> str:
    return f"{len(times):5} {what}: median {median(times):6.1f} ms, longest {max(times):6.1f} ms"


async def _run(dsn: str, superuser_dsn: str, emails: int, others: int) -> None:
    admin = await asyncpg.connect(dsn)
    crm = Crm(admin, admin)
    owner_id = await crm.owner(STAFF, "all")
    karl = await crm.record("contact", "Karl")
    async with Database(dsn) as database, Database(dsn, connections=2) as another:
        source = Source("staff", STAFF, "imap:staff", "INBOX", owner_id, "all")
        senders = Senders(crm, database, owner_id, (await register(database, [source]))[source])
        await fill(superuser_dsn, others)
        await flood_of(crm, owner_id, KARL, emails)

        async def carry_out() -> None:
            while await admin.fetchval("SELECT EXISTS (SELECT FROM router.ruling_work)"):
                # The last walk begins once all that was under way is in.
                if not await rulings.carry_out(another):
                    await asyncio.sleep(PAUSE)

        async def rule() -> None:
            await rulings.rule(another, "resolve", KARL, karl, "ann", None)
            await carry_out()

        async def undo() -> None:
            [ruling] = await rulings.list_rulings(another, limit=1)
            await rulings.undo(another, ruling.id, "ann")
            await carry_out()

        await _measure(senders, "calm", lambda: asyncio.sleep(CALM))
        await _measure(senders, "ruled", rule)
        assert await unresolved.count_parties(database, KARL) == 0
        listed = time.perf_counter()
        await unresolved.list_senders(database, None, None, 1000)
        sys.stdout.write(f"the queue is listed in {(time.perf_counter() - listed) * 1000:.0f} ms\n")
        await _measure(senders, "undone", undo)
        assert await admin.fetchval("SELECT count(*) FROM router.ruled_party") == 0
        listed = time.perf_counter()
        found = await unresolved.list_senders(database, None, None, 1000)
        sys.stdout.write(f"the queue is listed in {(time.perf_counter() - listed) * 1000:.0f} ms\n")
        assert found[0].number >= emails
    await admin.close()


async def main(emails: int = EMAILS, others: int = OTHERS) -> None:
    """Run all of it in a database of its own."""
    with tempfile.TemporaryDirectory(prefix="er-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101  # the server may run as another user
        async with EmbeddedServer(Path(folder), accepts_sessions=accepts_sessions) as server:
            await migrate(server.dsn)
            await _run(server.dsn, server.superuser_dsn("email_router"), emails, others)


if __name__ == "__main__":
    log.configure("warning", "console")
    asyncio.run(main(*map(int, sys.argv[1:])))
