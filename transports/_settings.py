"""What the settings of every transport have in common: references to secrets, and servers. Data, and nothing else."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from transports.base import Permanent

_OF_MAILBOX = re.compile(r"\{(?:mailbox|mailbox_ascii|local|domain)\}")


class Settings(BaseModel):
    """Base of every settings model: frozen, unknown keys refused, no value in an error since it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


def fill(text: str, mailbox: str) -> str:
    """Put a mailbox's address in place of `{mailbox}`, `{mailbox_ascii}` (the domain in punycode) and so on."""
    values = _of_mailbox(mailbox)
    return _OF_MAILBOX.sub(lambda match: values[match[0]], text)


def fill_path(path: str, mailbox: str) -> str:
    """Fill the name of a file so that no address leads out of its folder: "/" becomes "_", dots in front go."""
    values = {word: value.replace("/", "_").lstrip(".") or "_" for word, value in _of_mailbox(mailbox).items()}
    return _OF_MAILBOX.sub(lambda match: values[match[0]], path)


def _of_mailbox(mailbox: str) -> Mapping[str, str]:
    local, at, domain = mailbox.rpartition("@")
    labels = (one if one.isascii() else "xn--" + one.encode("punycode").decode() for one in domain.split("."))
    in_ascii = local + at + ".".join(labels)
    return {"{mailbox}": mailbox, "{mailbox_ascii}": in_ascii, "{local}": local, "{domain}": domain}


def is_of_mailbox(text: str) -> bool:
    """Whether it differs from mailbox to mailbox."""
    return _OF_MAILBOX.search(text) is not None


class Secret(Settings):
    """A reference to a secret: `{ env = "NAME" }` or `{ file = "/run/secrets/name" }`, never the secret itself."""

    env: str | None = Field(None, description="name of an environment variable that holds the secret")
    file: Path | None = Field(None, description="file that holds the secret; `{mailbox}` stands for the mailbox")

    @model_validator(mode="before")
    @classmethod
    def _is_reference(cls, value: Any) -> Any:
        if not isinstance(value, (dict, Secret)):
            raise ValueError('a secret is never written here: use { env = "NAME" } or { file = "/path" }')  # noqa: TRY004  # pydantic turns only ValueError into a message
        return value

    @model_validator(mode="after")
    def _is_one_reference(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env or file")
        return self

    def reveal(self, mailbox: str = "") -> str:
        """Read the secret now, so that a rotated one is seen. Raises Permanent if it is missing, naming only where."""
        if self.env is not None:
            secret = os.environ.get(self.env)
            if not secret:
                raise Permanent(f"the environment variable {self.env} is not set")
            return secret
        path = self._path(mailbox)
        try:
            secret = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Permanent(f"the secret {path} cannot be read: {reason}") from None
        if not secret:
            raise Permanent(f"the secret {path} is empty")
        return secret

    def where(self, mailbox: str = "") -> str:
        """Say where it is read, in words."""
        return f"the environment variable {self.env}" if self.env is not None else f"the file {self._path(mailbox)}"

    def _path(self, mailbox: str) -> Path:
        return Path(fill_path(str(self.file), mailbox))


class Auth(Settings):
    """How to log in; `{mailbox}` in `user` stands for the mailbox's address (`{mailbox}*master` for a master user)."""

    user: str = Field(description="login name; `{mailbox}` stands for the mailbox's address")
    password: Secret = Field(description="reference to the password")


_HOST = re.compile(r"[\w.-]+")
"""Names, in any script; one that a container has may hold an underscore."""

Security = Literal["tls", "starttls", "none"]


class ServerSettings(Settings):
    """What every connection to a server needs."""

    host: str = Field(min_length=1, description="name or address of the server")
    port: int | None = Field(None, ge=1, le=65535, description="port; by default the protocol's own for `security`")
    security: Security = Field("tls", description="tls | starttls | none; `none` needs `allow_clear` beyond loopback")
    allow_clear: bool = Field(False, description="say true to let passwords and mail go in clear text beyond loopback")
    ca_file: Path | None = Field(None, description="certificate authorities to trust instead of the system's (PEM)")
    timeout: float = Field(30, gt=0, le=600, description="seconds to wait for the server's answer")

    @field_validator("host")
    @classmethod
    def _is_host(cls, host: str) -> str:
        try:
            ip_address(host)
        except ValueError:
            if not _HOST.fullmatch(host):
                raise ValueError('must be a name or an address, such as "mail.example.com"') from None
        return host

    @model_validator(mode="after")
    def _is_not_in_clear(self) -> Self:
        loopback = self.host in ("localhost", "::1") or self.host.startswith("127.")
        if self.security == "none" and not loopback and not self.allow_clear:
            raise ValueError(
                f'security = "none" would send passwords and mail to {self.host} in clear text: '
                'use "tls" or "starttls", or say allow_clear = true'
            )
        return self


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

    @property
    @abstractmethod
    def where(self) -> str:
        """Say in words what is read, and where: "INBOX, Sales at mail.example.com"."""


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


class RelaySettings(ServerSettings):
    """Settings of a transport that sends."""

    connections: int = Field(4, ge=1, le=256, description="how many messages may be under way at once")
