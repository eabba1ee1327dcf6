"""What the settings of every transport have in common. Data, and nothing else."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Settings(BaseModel):
    """Base of every settings model: frozen, unknown keys refused, no value in an error since it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


_HOST = re.compile(r"[\w.-]+")
"""Names, in any script; one that a container has may hold an underscore."""

Security = Literal["tls", "starttls", "none"]


class ServerSettings(Settings):
    """What every connection to a server needs."""

    ports: ClassVar[Mapping[Security, int]] = {}
    """The protocol's own ports, by `security`; a profile has to name the port where there is none."""
    host: str = Field(min_length=1, description="name or address of the server")
    port: int | None = Field(None, ge=1, le=65535, description="port; by default the protocol's own for `security`")
    security: Security = Field("tls", description="tls | starttls | none; `none` needs `allow_clear` beyond loopback")
    allow_clear: bool = Field(False, description="say true to let passwords and mail go in clear text beyond loopback")
    ca_file: Path | None = Field(None, description="certificate authorities to trust instead of the system's (PEM)")
    timeout: float = Field(30, gt=0, le=600, description="seconds to wait for the server's answer")

    @property
    def effective_port(self) -> int:
        """The port that is connected to."""
        return self.port or self.ports[self.security]

    @property
    def server(self) -> str:
        """Say in words where the server is, and how the connection is secured: "mail.example.com:993 with tls"."""
        security = "in clear text" if self.security == "none" else f"with {self.security}"
        return f"{self.endpoint} {security}"

    @property
    def endpoint(self) -> str:
        """Where the server is: "mail.example.com:993"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.effective_port}"

    @field_validator("host")
    @classmethod
    def _is_host(cls, host: str) -> str:
        check_host(host)
        return host

    @model_validator(mode="after")
    def _has_port(self) -> Self:
        if self.port is None and self.security not in self.ports:
            raise ValueError(f'port is missing: this transport has none of its own for security = "{self.security}"')
        return self

    @model_validator(mode="after")
    def _is_not_in_clear(self) -> Self:
        refuse_clear(self, self.host)
        return self


def check_host(host: str) -> None:
    """Raise ValueError if it is neither the name nor the address of a server."""
    try:
        ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError('must be a name or an address, such as "mail.example.com"') from None


def is_loopback(host: str) -> bool:
    """Tell whether what goes to this host stays on this machine, by its name or address alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_clear(settings: ServerSettings, host: str) -> None:
    """Raise ValueError if passwords and mail would go to this host in clear text, and nobody said so."""
    if settings.security == "none" and not is_loopback(host) and not settings.allow_clear:
        raise ValueError(
            f'security = "none" would send passwords and mail to {host} in clear text: '
            'use "tls" or "starttls", or say allow_clear = true'
        )


def folders_in_words(folders: Sequence[str], *, sent: bool) -> str:
    """Say which folders are read: "INBOX, Sales and the Sent folder"."""
    return f"{', '.join(folders)}{' and the Sent folder' if sent and '*' not in folders else ''}"


class MailboxSettings(Settings, ABC):
    """Settings of a transport that reads mailboxes, wherever they are."""

    poll: float = Field(60, ge=1, description="seconds between looks for new mail, where nothing tells us earlier")

    @property
    def primary_folder(self) -> str:
        """The folder that stands for the whole mailbox, as its account names it."""
        return "INBOX"

    @property
    @abstractmethod
    def at_once(self) -> int:
        """How many mailboxes one process may have open at once; those beyond take turns."""

    @abstractmethod
    def account_of(self, mailbox: str) -> str:
        """Name the account of a mailbox so that no other account on any server has the name."""

    @property
    @abstractmethod
    def where(self) -> str:
        """Say in words what is read, and where: "INBOX, Sales at mail.example.com:993 with tls"."""


class MailboxServerSettings(ServerSettings, MailboxSettings, ABC):
    """Settings of a transport that reads mailboxes on a server."""

    max_connections: int = Field(
        100, ge=1, description="connections that one process has open at once; mailboxes beyond them take turns"
    )

    @property
    def at_once(self) -> int:
        """As many as there may be connections."""
        return self.max_connections


class ListenerSettings(Settings):
    """Settings of a transport to which mail is handed."""

    listen: str = Field(description='address to listen at: "127.0.0.1:2525"')
    keeps_original: bool = Field(
        False, alias="copy", description="true: what we are given is a copy, the mail server keeps the original"
    )

    @property
    def where(self) -> str:
        """Say in words where it listens, and how a connection is secured: "127.0.0.1:2525 with starttls required"."""
        return self.listen


class RelaySettings(Settings, ABC):
    """Settings of a transport that sends, wherever the mail goes."""

    connections: int = Field(4, ge=1, le=256, description="how many messages may be under way at once")

    @property
    @abstractmethod
    def where(self) -> str:
        """Say in words where the mail goes: "smtp.example.com:465 with tls"."""


class RelayServerSettings(RelaySettings, ServerSettings, ABC):
    """Settings of a transport that sends through a server."""

    @property
    def where(self) -> str:
        """The server."""
        return self.server
