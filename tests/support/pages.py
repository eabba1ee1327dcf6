"""The console's pages on a port of their own, in the test's process and on its database."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from router.model.viewer import Grant, StaffRole
from router.operations import people, sign_in
from router.operations.backing import Backing
from router.operations.sign_in import Client
from router.profile import Profiles
from router.repository.database import Database
from router.settings import ConsoleAddress, Settings
from router.web.console import make_console
from router.web.forwarded import Proxies
from router.web.server import Console
from router.workers.pool import Workers
from tests.servers.ports import free_port
from tests.support.console import wait_for


@dataclass
class ServedConsole:
    """A console that is served for a test, on its database."""

    database: Database
    port: int

    @property
    def origin(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://localhost:{self.port}"

    async def add(self, name: str, role: str = "administer", owners: Collection[UUID] = ()) -> str:
        """Add a person, for the mail of these owners or of all; returns the path of the one-time link."""
        grants = [Grant(StaffRole(role), one) for one in owners] or [Grant(StaffRole(role))]
        return f"/link/{await people.add(self.database, name, grants, 'tests')}"

    async def session(self, name: str) -> str:
        """The secret of a new session of a person, as if the person had signed in."""
        person = next(one.person for one in await people.list_all(self.database) if one.person.name == name)
        secret, _ = await sign_in.begin(self.database, person.id, name, Client("127.0.0.1", "tests"))
        return secret


@asynccontextmanager
async def serving(
    database: Database,
    proxies: Proxies | None = None,
    settings: Settings | None = None,
    workers: Workers | None = None,
    backing: Backing | None = None,
    port: int | None = None,
) -> AsyncIterator[ServedConsole]:
    """Serve a console on this database, in this loop; `backing` has other profiles, settings and workers than none."""

    async def reasons() -> list[str]:
        return []

    backing = backing or Backing(lambda: Profiles((), ()), settings)
    backing.use(database)
    if workers is not None:
        backing.use_workers(workers)
    port = port or free_port()
    served = Console(ConsoleAddress("127.0.0.1", port), reasons, None, make_console(backing), proxies)
    task = asyncio.create_task(_run(served))
    try:
        await wait_for(port, "/healthz", 200)
        yield ServedConsole(database, port)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _run(served: Console) -> None:
    with served.health:
        await served.run()
