"""The settings that SMTP and LMTP listeners have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path
from typing import Self

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator

from transports._listener.address import Address
from transports._settings import ListenerSettings


class MailListenerSettings(ListenerSettings, ABC):
    """A listener, to which a mail server hands its users' mail, or copies of it."""

    clients: tuple[IPvAnyNetwork, ...] = Field(
        ("127.0.0.0/8", "::1/128"), min_length=1, validate_default=True, description="networks that may connect"
    )
    max_size: int = Field(50_000_000, ge=65536, description="bytes of the largest message that is taken")
    max_recipients: int = Field(1000, ge=100, description="recipients of one message")
    max_connections: int = Field(
        200, ge=1, description="connections that are open at once; the next one ends one that brings nothing"
    )
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

    @property
    def where(self) -> str:
        """Where it listens, and whether with TLS."""
        if self.cert_file is None:
            return f"{self.listen} in clear text"
        return f"{self.listen} with starttls {'required' if self.require_tls else 'offered'}"

    @property
    @abstractmethod
    def listen_address(self) -> Address:
        """Where it listens: `listen`, read."""
