"""Where a relay's servers are, and which of them is tried next.

Each name has one address or several. They are tried in order; one that fails is passed over for a while. After that,
one connection finds out whether it works again, and meanwhile the others go on passing it over.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from transports._net.tls import no_connection
from transports.errors import Permanent, Temporary, TransportError, Unreachable
from transports.smtp.settings import SmtpRelaySettings

_PASSED_OVER = 60.0  # seconds, doubled with each failure
_LONGEST_PASSED_OVER = 900.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of one server. `server` are the relay's settings with this host alone."""

    server: SmtpRelaySettings = field(compare=False, repr=False)
    peer: str  # "smtp.example.com:587"
    family: int = field(default=0, compare=False)
    address: tuple[Any, ...] = ()

    async def connect(self) -> socket.socket:
        """Connect. Raises OSError."""
        connection = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(self.server.timeout):
                await asyncio.get_running_loop().sock_connect(connection, self.address)
        except OSError as error:
            connection.close()
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno)) from None  # without asyncio's own words
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass(slots=True)
class _Failure:
    times: int
    until: float


class Endpoints:
    """The servers of one relay, as one process knows them."""

    def __init__(self, settings: SmtpRelaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._servers = settings.servers
        self._clock = clock
        self._failures: dict[Endpoint, _Failure] = {}

    async def in_order(self, errors: list[TransportError]) -> AsyncIterator[Endpoint]:
        """Yield what to try, one after the other: first what is not passed over, then the rest.

        A name that cannot be looked up gives no endpoint, and is added to the `errors`.
        """
        later = []
        for server in self._servers:
            unknown = Endpoint(server, server.endpoint)
            if self._is_passed_over(unknown):
                later.append(unknown)
                continue
            for endpoint in await self._look_up(unknown, errors):
                if self._is_passed_over(endpoint):
                    later.append(endpoint)
                else:
                    yield endpoint
        for endpoint in later:
            found = [endpoint] if endpoint.address else await self._look_up(endpoint, errors)
            for one in found:
                yield one

    def works(self, endpoint: Endpoint) -> None:
        """Note that a server has let us in."""
        self._failures.pop(endpoint, None)

    def fails(self, endpoint: Endpoint) -> None:
        """Note that a server did not let us in, or gave up before it said anything of a message."""
        times = self._failures[endpoint].times + 1 if endpoint in self._failures else 1
        pause = min(_LONGEST_PASSED_OVER, _PASSED_OVER * 2.0 ** min(times - 1, 10))
        self._failures[endpoint] = _Failure(times, self._clock() + pause)

    def _is_passed_over(self, endpoint: Endpoint) -> bool:
        failure = self._failures.get(endpoint)
        if failure is None:
            return False
        if failure.until > self._clock():
            return True
        failure.until = self._clock() + _PASSED_OVER  # for the others, while this one finds out
        return False

    async def _look_up(self, endpoint: Endpoint, errors: list[TransportError]) -> list[Endpoint]:
        server = endpoint.server
        try:
            async with asyncio.timeout(server.timeout):
                found = await asyncio.get_running_loop().getaddrinfo(
                    server.host, server.effective_port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError) as error:
            self.fails(endpoint)
            cause = error if isinstance(error, OSError) else OSError(str(error))
            failure = no_connection(endpoint.peer, cause)
            failure.__cause__ = cause
            errors.append(failure)
            return []
        self.works(endpoint)
        addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
        return [Endpoint(server, endpoint.peer, family, address) for family, address in addresses]


def together(errors: Sequence[TransportError]) -> TransportError:
    """Make one error of those of several servers: it is worth another try if one of them is."""
    if len(errors) == 1:
        return errors[0]
    words = "; ".join(dict.fromkeys(map(str, errors))) or "there is no other server"
    if all(isinstance(error, Unreachable) for error in errors):
        kind: type[TransportError] = Unreachable
    else:
        kind = Temporary if any(isinstance(error, Temporary) for error in errors) else Permanent
    made = kind(words)
    made.__cause__ = next((error.__cause__ for error in reversed(errors) if error.__cause__), None)
    return made
