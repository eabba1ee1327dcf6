"""A ruling on an address of which 100,000 emails wait, and how long new mail takes meanwhile.

python -m tests.benchmarks.rulings [EMAILS [OTHERS]]

There are as many emails of others again, each of another address, so that PostgreSQL expects few of any address.
New mail comes in (see `meanwhile`), of that address and of another: while nothing is ruled, while the ruling is carried
out, and while its undoing is. At the end all parties are as they were.
"""

import asyncio
import sys
import time
from typing import Final

from router import log
from router.repository.rulings import ruling_walks, rulings, unresolved
from tests.benchmarks.meanwhile import bench, measure
from tests.support.senders import flood_of

KARL, BERTA = "karl@kunde.test", "berta@other.test"
EMAILS: Final = 100_000
OTHERS: Final = 100_000
PAUSE: Final = 0.1  # seconds
CALM: Final = 5.0  # seconds in which nothing is ruled, for comparison


async def main(emails: int = EMAILS, others: int = OTHERS) -> None:
    """Run all of it in a database of its own."""
    async with bench(others) as on:
        karl = await on.crm.record("contact", "Karl")
        await flood_of(on.crm, on.senders.owner_id, KARL, emails)

        async def carry_out() -> None:
            while await on.crm.admin.fetchval("SELECT EXISTS (SELECT FROM router.ruling_work)"):
                # The last walk begins once all that was under way is in.
                if not await ruling_walks.carry_out(on.another):
                    await asyncio.sleep(PAUSE)

        async def rule() -> None:
            await rulings.rule(on.another, "resolve", KARL, karl, "ann", None)
            await carry_out()

        async def undo() -> None:
            [ruling] = await rulings.list_rulings(on.another, limit=1)
            await rulings.undo(on.another, ruling.id, "ann")
            await carry_out()

        async def list_senders() -> int:
            listed = time.perf_counter()
            found = await unresolved.list_senders(on.senders.database, None, None, 1000)
            sys.stdout.write(f"the queue is listed in {(time.perf_counter() - listed) * 1000:.0f} ms\n")
            return found[0].number if found else 0

        of = (KARL, BERTA)
        await measure(on.senders, of, "calm", lambda: asyncio.sleep(CALM))
        await measure(on.senders, of, "ruled", rule)
        assert await unresolved.count_parties(on.senders.database, KARL) == 0
        await list_senders()
        await measure(on.senders, of, "undone", undo)
        assert await on.crm.admin.fetchval("SELECT count(*) FROM router.ruled_party") == 0
        assert await list_senders() >= emails


if __name__ == "__main__":
    log.configure("warning", "console")
    asyncio.run(main(*map(int, sys.argv[1:])))
