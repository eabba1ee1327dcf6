"""Opens connections to the PostgreSQL that a URL names, by one host or several."""

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from router.errors import DatabaseAway, DatabaseError
from router.postgres.dsn import Host, hosts_of
from router.repository.faults import fault_of, words_of

_PATIENCE: Final = 10.0  # seconds for each host, since one that is switched off does not answer at all
_BY_DEFAULT: Final = "the socket of this machine, or localhost"  # where libpq looks, too

# A machine that is gone, or a firewall that forgets, leaves a connection behind; the kernel itself waits two hours.
_IDLE: Final = 10  # seconds
_INTERVAL: Final = 5  # seconds
_COUNT: Final = 3
_UNHEARD: Final = 20  # seconds that what was sent may stay without the other side's acknowledgment

SESSION: Final = {
    # A policy that hides rows would have us refuse an owner's mail for good, or take a duplicate in: it is an error.
    "row_security": "off",
    # Our locks are made for it; under a stricter one, which a database may have, transactions fail that share a thread.
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": f"{_IDLE}",
    "tcp_keepalives_interval": f"{_INTERVAL}",
    "tcp_keepalives_count": f"{_COUNT}",
    "tcp_user_timeout": f"{_UNHEARD}s",
}
"""The settings of every session of ours. Those of TCP are the server's side; `_keep_alive` is ours."""


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

    async def connect(
        self, *_: Any, within: float | None = None, **options: Any
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection with these options of asyncpg, for a pool, too. DatabaseAway, or DatabaseError for good.

        All hosts are tried `within` so many seconds, or each has 10 of its own. The error names each host that was
        tried, and never a password.
        """
        patience = _PATIENCE if within is None else within / max(1, len(self._hosts))
        refused: dict[str, Exception] = {}
        for host in self._hosts or (None,):
            try:
                connection = await self._connect(host, {"timeout": patience, **options})
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
        options["connection_class"] = _Connection  # a pool asks for asyncpg's own, and takes one derived from it
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self._dsn, **options)
        return connection


if TYPE_CHECKING:
    _AsyncpgConnection = asyncpg.Connection[asyncpg.Record]
else:
    _AsyncpgConnection = asyncpg.Connection


class _Connection(_AsyncpgConnection):
    """A connection that ends when the other side is not heard any more, whatever waits for an answer over it."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any, **more: Any) -> None:
        super().__init__(protocol, transport, *rest, **more)
        _keep_alive(transport.get_extra_info("socket"))


def _keep_alive(connected: socket.socket) -> None:
    if connected.family == socket.AF_UNIX:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _IDLE),
        (socket.TCP_KEEPINTVL, _INTERVAL),
        (socket.TCP_KEEPCNT, _COUNT),
        (socket.TCP_USER_TIMEOUT, _UNHEARD * 1000),  # milliseconds
    ):
        connected.setsockopt(socket.IPPROTO_TCP, option, value)


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
