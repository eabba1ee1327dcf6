"""What a listener allows: who comes, how many at once, how much, and for how long."""

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of every listener, as `transports._listener.settings` describes them. Sizes in bytes, times in s."""

    clients: tuple[IPv4Network | IPv6Network, ...]
    max_size: int
    max_recipients: int
    max_connections: int
    max_client_connections: int
    max_bad_commands: int
    max_in_flight: int
    max_session: float
    timeout: float
    context: ssl.SSLContext | None
    require_tls: bool


class Budget:
    """Bytes that all connections together may hold at once: many large messages must not end us."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def has(self, size: int) -> bool:
        """Whether so much is left now."""
        return size <= self._left

    def take(self, size: int) -> bool:
        """Take so much, if it is left; `give` it back once it is no longer held."""
        if not self.has(size):
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        self._left += size
