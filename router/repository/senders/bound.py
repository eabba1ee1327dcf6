"""A connection whose queries go by indexes and in their order, whatever PostgreSQL believes of the tables.

It knows how many senders a part has on average, and expects that many of each: three, where one has 50,000. Then any
index will do, and three rows are soon put in order. And planned once for all places where a page may begin, a query
reads all before it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from router.repository.database import Connection, Database

BOUND: Final = "SET LOCAL plan_cache_mode = force_custom_plan; " + "; ".join(
    f"SET LOCAL enable_{what} = off"
    for what in ("seqscan", "sort", "incremental_sort", "hashjoin", "mergejoin", "hashagg")
)


@asynccontextmanager
async def bound(database: Database) -> AsyncIterator[Connection]:
    """Lend such a connection, in a transaction."""
    async with database.transaction() as connection:
        await connection.execute(BOUND)
        yield connection
