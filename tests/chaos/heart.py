"""Whether the routers say in time that they live, looked at all the while from outside."""

import asyncio

from tests.chaos.server import Sql
from tests.chaos.world import LEASE, World

_LOOKS = 0.1  # seconds between two

_SEEN = """
    SELECT DISTINCT ON (pid) pid, extract(epoch FROM clock_timestamp() - seen_at)::float AS age
    FROM router.process ORDER BY pid, seen_at DESC
"""


class Heart:
    """`worst`: the longest silence of a router that nothing was done to, in seconds; `late`: those beyond the lease."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sql = Sql(world.server)
        self.worst = 0.0
        self.looks = 0
        self.late: list[str] = []

    async def watch(self) -> None:
        """Look until canceled, over a session of its own."""
        try:
            await self._watch()
        finally:
            self._sql.close()

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            rows = await self._sql.fetch(_SEEN)
            # If we come late ourselves, so may everybody on this machine.
            if clock() - began < LEASE / 3:
                self._judge({row["pid"]: row["age"] for row in rows}, began)
            before = clock()
            await asyncio.sleep(_LOOKS)
            if clock() - before > LEASE / 3:
                await asyncio.sleep(LEASE)

    def _judge(self, ages: dict[int, float], began: float) -> None:
        for number, router in enumerate(self._world.routers, 1):
            # It has a lease to be heard again once it was started, continued, or the database came back.
            if began - max(router.well_since, self._world.server.up_since) < LEASE:
                continue
            self.looks += 1
            age = ages.get(router.process.pid, float("inf"))
            self.worst = max(self.worst, age)
            if age > LEASE:
                self.late.append(f"router {number} was not heard for {age:.1f} s")
