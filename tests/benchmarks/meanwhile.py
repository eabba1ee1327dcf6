"""What new mail takes while something large is carried out beside it.

New mail comes in one by one, of one sender and of another in turn, and after every ten of them a batch of 100, of both.
Told are how long the work takes, and the median and the longest of the times that a message and a batch take, in
milliseconds.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from router.repository.database import Database
from router.repository.incoming.registry import Source, register
from router.repository.migrate import migrate
from tests.benchmarks.history import fill
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders

BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Bench:
    """A database of its own, with the emails of others in it; `another` pool is for the work, that of `senders` not."""

    crm: Crm
    senders: Senders
    another: Database


@asynccontextmanager
async def bench(others: int) -> AsyncIterator[Bench]:
    """Set it up, with so many emails of others, each of another address."""
    with tempfile.TemporaryDirectory(prefix="er-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101  # the server may run as another user
        async with EmbeddedServer(Path(folder), accepts_sessions=accepts_sessions) as server:
            await migrate(server.dsn)
            admin = await asyncpg.connect(server.dsn)
            crm = Crm(admin, admin)
            owner_id = await crm.owner(STAFF, "all")
            await fill(server.superuser_dsn("email_router"), others)
            async with Database(server.dsn) as database, Database(server.dsn, connections=2) as another:
                source = Source("staff", STAFF, "imap:staff", "INBOX", owner_id, "all")
                source_id = (await register(database, [source]))[source]
                yield Bench(crm, Senders(crm, database, owner_id, source_id), another)
            await admin.close()


async def measure(senders: Senders, of: Sequence[str], what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work, bring in new mail of these senders meanwhile, and tell what both took."""
    lone: list[float] = []
    batches: list[float] = []
    began = time.perf_counter()
    task = asyncio.ensure_future(work())
    while not task.done():
        lone += [await _bring_in(senders, [sender]) for sender in (*of,) * 5]
        batches.append(await _bring_in(senders, (*of,) * (BATCH // len(of))))
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
