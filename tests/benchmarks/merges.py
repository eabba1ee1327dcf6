"""A merge of a record with 100,000 emails and as many addresses, and how long new mail takes meanwhile.

python -m tests.benchmarks.merges [EMAILS [OTHERS]]

New mail comes in (see `meanwhile`), of the record that is merged and of the one that it is merged into: before, and
until the merge is done. At the end nothing names the merged record.
"""

import asyncio
import sys
import time
from typing import Final

from router import log
from router.repository.records import merges
from tests.benchmarks.meanwhile import bench, measure
from tests.support.senders import flood_of

CARL, KARL = "carl@kunde.test", "karl@kunde.test"
EMAILS: Final = 100_000
OTHERS: Final = 100_000
PAUSE: Final = 0.1  # seconds
CALM: Final = 5.0  # seconds in which nothing is merged, for comparison


async def main(emails: int = EMAILS, others: int = OTHERS) -> None:
    """Run all of it in a database of its own."""
    async with bench(others) as on:
        carl, karl = await on.crm.record("contact", "Carl", CARL), await on.crm.record("contact", "Karl", KARL)
        await flood_of(on.crm, on.senders.owner_id, CARL, emails)
        sql = on.crm.admin
        await sql.execute("UPDATE crm.party SET record_id = $1 WHERE address = $2", carl, CARL)
        await sql.execute("UPDATE crm.email SET regarding_id = $1 WHERE subject LIKE 'number %'", carl)
        await sql.execute(
            "INSERT INTO crm.address SELECT 'carl' || n || '@kunde.test', $1 FROM generate_series(1, $2::int) AS n",
            carl,
            emails,
        )
        await sql.execute("VACUUM ANALYZE")

        async def merge() -> None:
            began = time.perf_counter()
            assert await merges.merge(on.another, carl, karl, "ann") is None
            sys.stdout.write(f"the addresses are moved in {time.perf_counter() - began:.1f} s\n")
            while not await sql.fetchval("SELECT is_done FROM crm.merge"):
                if not await merges.carry_out(on.another):
                    await asyncio.sleep(PAUSE)

        await measure(on.senders, (CARL, KARL), "calm", lambda: asyncio.sleep(CALM))
        await measure(on.senders, (CARL, KARL), "merged", merge)
        assert not await sql.fetchval("SELECT EXISTS (SELECT FROM crm.party WHERE record_id = $1)", carl)
        assert not await sql.fetchval("SELECT EXISTS (SELECT FROM crm.email WHERE regarding_id = $1)", carl)
        assert not await sql.fetchval("SELECT EXISTS (SELECT FROM crm.address WHERE record_id = $1)", carl)


if __name__ == "__main__":
    log.configure("warning", "console")
    asyncio.run(main(*map(int, sys.argv[1:])))
