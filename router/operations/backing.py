"""What the API and the pages work with."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast

from router.backoff import Backoff
from router.errors import DatabaseAway, DatabaseError, RouterError
from router.health import Health
from router.profile import Profiles
from router.repository.database import Database
from router.settings import Settings
from router.supervise import end_if_told
from router.workers.pool import Workers

CONNECTIONS: Final = 4
"""Connections to the database that the API has at most, so that it never takes those that mail needs."""

Shared = TypeVar("Shared")

_STATEMENT: Final = 10.0  # seconds; a little longer than a request may take, so that this is told as such


class Refused(RouterError):
    """What a client wants is wrong as it is; the words say why, and what to do instead."""


class Conflict(RouterError):
    """What a client wants does not go with what is so by now; the words say what that is."""


class Changed(RouterError):
    """What a client wants to change is not as it was when the client read it."""


class Vault(Protocol):
    """Seals secrets, and opens them; see `router.oauth2.vault`, which is loaded once somebody needs it."""

    def encrypt(self, content: bytes) -> bytes:
        """Seal this. Raises Permanent where the keys cannot be read."""

    def decrypt(self, sealed: bytes) -> tuple[bytes, bytes | None] | None:
        """Open it, and seal it anew where another key had sealed it; None where no key fits."""


class Backing:
    """The database and the workers, once they are there, the profiles that are served, the settings, and the vault."""

    def __init__(
        self,
        profiles: Callable[[], Profiles],
        settings: Settings | None = None,
        vault: Callable[[], Vault] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._profiles = profiles
        self._vault = vault
        self._shared: dict[object, object] = {}
        self._database: Database | None = None
        self._workers: Workers | None = None

    @property
    def database(self) -> Database:
        """The API's own share of it. Raises DatabaseAway until there is one."""
        if self._database is None:
            raise DatabaseAway("the database is not open yet")
        return self._database

    def shared(self, make: Callable[["Backing"], Shared]) -> Shared:
        """Return what the API and the pages have together: what the first of them made with it."""
        if make not in self._shared:
            self._shared[make] = make(self)
        return cast("Shared", self._shared[make])

    @property
    def profiles(self) -> Profiles:
        """Those that are served now."""
        return self._profiles()

    @property
    def lease(self) -> timedelta:
        """For how long a silent process counts as alive."""
        return timedelta(seconds=self.settings.lease)

    @property
    def folder(self) -> Path:
        """The folder of the profiles."""
        return self.settings.profiles

    def open_vault(self) -> Vault:
        """Return what seals secrets; it blocks while it is loaded."""
        assert self._vault is not None
        return self._vault()

    @property
    def workers(self) -> Workers:
        """Those that read mail: the router's own, as whoever waits for a page has few letters. Raises DatabaseAway."""
        if self._workers is None:
            raise DatabaseAway("the router has not begun its work yet")
        return self._workers

    def use_workers(self, workers: Workers) -> None:
        """Read mail in these, which the caller keeps."""
        self._workers = workers

    def use(self, database: Database) -> None:
        """Work with this database, which the caller keeps open."""
        self._database = database

    async def keep(self, database: Database, health: Health) -> None:
        """Have a share of this database, until canceled; where none can be had, the API waits, and nothing else."""
        backoff = Backoff(longest=15)
        while True:
            try:
                async with database.share(CONNECTIONS, statement=_STATEMENT) as shared:
                    self._database = shared
                    await health.works()
                    await asyncio.Event().wait()
            except DatabaseError as error:
                end_if_told(error)
                pause = backoff.next()
                await health.fails(str(error), pause)
                await asyncio.sleep(pause)
            finally:
                self._database = None
