"""What a listener allows: who comes, how many at once, how much, and for how long."""

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from transports._listener.settings import MailListenerSettings
from transports.errors import Permanent


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


class Seldom:
    """Says when what may happen at any rate is told: once a minute, so that nobody fills a disk by it."""

    def __init__(self) -> None:
        self._count = 0
        self._from: float | None = None

    def count(self, now: float) -> int:
        """Count it; returns how often it happened since it was told last if it is to be told now, otherwise 0."""
        self._count += 1
        if self._from is not None and now < self._from:
            return 0
        told, self._count, self._from = self._count, 0, now + 60
        return told


def limits_of(settings: MailListenerSettings) -> Limits:
    """Read the limits from the settings, and the certificate. Raises Permanent if the certificate cannot be used."""
    return Limits(
        clients=settings.clients,
        max_size=settings.max_size,
        max_recipients=settings.max_recipients,
        max_connections=settings.max_connections,
        max_client_connections=settings.max_client_connections,
        max_bad_commands=settings.max_bad_commands,
        max_in_flight=settings.max_in_flight,
        max_session=settings.max_session,
        timeout=settings.timeout,
        context=_server_context(settings.cert_file, settings.key_file) if settings.cert_file is not None else None,
        require_tls=settings.require_tls,
    )


def _server_context(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except OSError as error:
        raise Permanent(f"the certificate {cert_file} cannot be used: {error.strerror or error}") from None
    return context
