"""What the API works with."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from router.errors import DatabaseAway, RouterError
from router.profile import Profiles
from router.repository.database import Database

CONNECTIONS: Final = 4
"""Connections to the database that the API has at most, so that it never takes those that mail needs."""


class Refused(RouterError):
    """What a client wants is wrong as it is; the words say why, and what to do instead."""


class Conflict(RouterError):
    """What a client wants does not go with what is so by now; the words say what that is."""


class Backing:
    """The database, once it is open, and the profiles that are served."""

    def __init__(self, profiles: Callable[[], Profiles]) -> None:
        self._profiles = profiles
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The API's own share of it. Raises DatabaseAway until there is one."""
        if self._database is None:
            raise DatabaseAway("the database is not open yet")
        return self._database

    @property
    def profiles(self) -> Profiles:
        """Those that are served now."""
        return self._profiles()

    @asynccontextmanager
    async def on(self, database: Database) -> AsyncIterator[None]:
        """Have a share of this database meanwhile. Raises DatabaseAway where there is none."""
        async with database.share(CONNECTIONS) as shared:
            self._database = shared
            try:
                yield
            finally:
                self._database = None
