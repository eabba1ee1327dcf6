"""Opens connections to the PostgreSQL that a URL names, by one host or several."""

import os
from typing import Any, Final

import asyncpg

from router.errors import DatabaseAway, DatabaseError
from router.postgres.dsn import Host, hosts_of
from router.repository.faults import fault_of, words_of

_PATIENCE: Final = 10.0  # seconds for each host, since one that is switched off does not answer at all
_BY_DEFAULT: Final = "the socket of this machine, or localhost"  # where libpq looks, too

# A machine that is gone leaves its connection behind; the kernel's own patience is two hours.
KEEPALIVE: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}


class Server:
    """The PostgreSQL of a URL. Its hosts are tried in order, beginning with the one that was connected to last.

    Not asyncpg's own choice of a host: it has one limit of time for all of them, which the first one that is switched
    off uses up, and its error names none.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        try:
            self._hosts = list(hosts_of(dsn))
        except ValueError:
            raise _unreadable() from None

    async def connect(self, *_: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection with these options of asyncpg, for a pool, too. DatabaseAway, or DatabaseError for good.

        The error names each host that was tried, and never a password.
        """
        refused: dict[str, Exception] = {}
        for host in self._hosts or (None,):
            try:
                connection = await self._connect(host, options)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                refused[str(host or os.environ.get("PGHOST", _BY_DEFAULT))] = error
            except ValueError:
                raise _unreadable() from None
            else:
                self._hosts.sort(key=lambda other: other != host)
                return connection
        raise _refusal(refused) from next(iter(refused.values()))

    async def _connect(self, host: Host | None, options: dict[str, Any]) -> "asyncpg.Connection[asyncpg.Record]":
        if host is not None:
            options = {**options, "host": host.name, "port": host.port}
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self._dsn, timeout=_PATIENCE, **options)
        return connection


async def accepts_sessions(dsn: str) -> bool:
    """Tell whether the server opens sessions now, be it that all of them are taken.

    DatabaseError if it will not open one for us, however long we wait.
    """
    try:
        connection = await Server(dsn).connect()
    except DatabaseAway as error:
        return isinstance(error.__cause__, asyncpg.TooManyConnectionsError)
    await connection.close()
    return True


def _unreadable() -> DatabaseError:
    # The words of the ValueError may hold a part of the password: what follows a colon that is not encoded.
    return DatabaseError(
        "the URL of the database cannot be read: a port is a number, and @ : / ? # in a password are percent-encoded"
    )


def _refusal(refused: dict[str, Exception]) -> DatabaseError:
    """Tell of every host why it was not connected to; one of them may come back where one fault may pass."""
    passes = any(isinstance(fault_of(error), DatabaseAway) for error in refused.values())
    told = "; ".join(f"{host}: {_words(error)}" for host, error in refused.items())
    return (DatabaseAway if passes else DatabaseError)(f"cannot connect to the database: {told}")


def _words(error: Exception) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "it can only be read, as a standby can, or is not otherwise what target_session_attrs asks for"
    return words_of(error)
