"""The settings that SMTP and LMTP listeners have in common."""

import ssl
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator

from transports._listener.address import Address
from transports._listener.conversation import Talk
from transports._listener.limits import Limits
from transports._listener.listener import Door, MailListener
from transports._listener.probe import examine_listener
from transports._settings import ListenerSettings
from transports.base import Finding, Permanent, TransportError


class MailListenerSettings(ListenerSettings):
    """A listener, to which a mail server hands its users' mail, or copies of it."""

    protocol: ClassVar[type[Talk]]

    clients: tuple[IPvAnyNetwork, ...] = Field(
        ("127.0.0.0/8", "::1/128"), min_length=1, validate_default=True, description="networks that may connect"
    )
    max_size: int = Field(50_000_000, ge=65536, description="bytes of the largest message that is taken")
    max_recipients: int = Field(1000, ge=100, description="recipients of one message")
    max_connections: int = Field(200, ge=1, description="connections that are open at once")
    max_client_connections: int = Field(100, ge=1, description="connections that one client address has open at once")
    max_in_flight: int = Field(
        250_000_000, ge=65536, description="bytes of messages that all connections together are handing over at once"
    )
    max_bad_commands: int = Field(20, ge=1, description="bad commands after which a connection is closed")
    max_session: float = Field(3600, gt=0, description="seconds after which a connection is closed between messages")
    timeout: float = Field(
        300, gt=0, le=3600, description="seconds without a command, or 64 KB of one message, that close a connection"
    )
    cert_file: Path | None = Field(None, description="certificate chain (PEM); with it, STARTTLS is offered")
    key_file: Path | None = Field(None, description="the certificate's private key (PEM), if it is in another file")
    require_tls: bool = Field(False, description="true: no mail is taken before STARTTLS")

    @field_validator("clients")
    @classmethod
    def _are_limited(cls, clients: tuple[IPv4Network | IPv6Network, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
        together: Sequence[IPv4Network | IPv6Network] = (
            *collapse_addresses(one for one in clients if isinstance(one, IPv4Network)),
            *collapse_addresses(one for one in clients if isinstance(one, IPv6Network)),
        )
        if any(network.prefixlen == 0 for network in together):
            raise ValueError("anybody might hand over mail: write only the networks of your mail servers")
        return clients

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        if self.require_tls and self.cert_file is None:
            raise ValueError("require_tls needs cert_file")
        if self.max_in_flight < self.max_size:
            raise ValueError("max_in_flight must be at least max_size, or no message of that size could be taken")
        return self

    def open(self) -> MailListener:
        """Make the listener; it binds when it is entered. Raises Permanent if the certificate cannot be used."""
        return MailListener(self._door())

    async def examine(self) -> AsyncIterator[Finding]:
        """Try whether it can listen, or does already. See `ListenerSettings.examine`."""
        try:
            door = self._door()
        except TransportError as error:
            yield Finding("TLS", "failed", str(error), "are cert_file and key_file right, and may we read them?")
            return
        async for finding in examine_listener(MailListener(door), door):
            yield finding

    @abstractmethod
    def _address(self) -> Address:
        """Read `listen`. Raises ValueError."""

    def _door(self) -> Door:
        limits = Limits(
            clients=self.clients,
            max_size=self.max_size,
            max_recipients=self.max_recipients,
            max_connections=self.max_connections,
            max_client_connections=self.max_client_connections,
            max_bad_commands=self.max_bad_commands,
            max_in_flight=self.max_in_flight,
            max_session=self.max_session,
            timeout=self.timeout,
            context=_server_context(self.cert_file, self.key_file) if self.cert_file is not None else None,
            require_tls=self.require_tls,
        )
        return Door(self._address(), self.protocol, limits)


def _server_context(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except OSError as error:
        raise Permanent(f"the certificate {cert_file} cannot be used: {error.strerror or error}") from None
    return context
