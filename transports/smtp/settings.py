"""The keys of SMTP profiles, of relays and of listeners."""

from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from transports._listener.address import Address, Inet
from transports._listener.settings import MailListenerSettings
from transports._net.auth import Auth
from transports._settings import RelayServerSettings, Security, Settings, check_host, refuse_clear
from transports.smtp.hello import is_hello

Notify = Literal["success", "failure", "delay", "never"]


class Certificate(Settings):
    """A client certificate, by reference. It is read anew when it has changed."""

    file: Path = Field(description="file (PEM) with the certificate, and those between it and its authority")
    key: Path | None = Field(None, description="file (PEM) with its private key, without a passphrase; else in `file`")


class SmtpRelaySettings(RelayServerSettings):
    """A relay, of one server or several; its port is by default 465 for tls, 587 for starttls and 25 for none."""

    ports: ClassVar[Mapping[Security, int]] = {"tls": 465, "starttls": 587, "none": 25}
    host: str = Field(
        min_length=1, description='name or address of the server, or "name:port"; or `hosts`, for several'
    )
    hosts: tuple[str, ...] = Field(
        (), description="several in place of `host`, tried in this order; one that fails is passed over for a while"
    )
    auth: Auth | None = Field(
        None,
        description="login at the relay: one for all mail or, with `{mailbox}` as its user, one for each mailbox; none "
        "where it trusts our address",
    )
    hello: str | None = Field(
        None,
        description="name that we say in EHLO, `crm.example.com`; by default this machine's full name or, where it has "
        "none (most containers), the address that it connects from",
    )
    certificate: Certificate | None = Field(
        None, description="client certificate that we show, `{ file, key }`, where the relay knows us by one"
    )
    recipients: int = Field(
        100, ge=1, le=10_000, description="recipients of one transaction, at most; a message to more goes in several"
    )
    notify: tuple[Notify, ...] = Field(
        ("failure", "delay"),
        min_length=1,
        description="what we ask to be told of by mail, where the relay offers DSN: success, failure, delay; or never",
    )
    final_timeout: float = Field(
        600,
        gt=0,
        le=3600,
        description="seconds to wait for the answer to a message; giving up earlier leaves its outcome unknown",
    )

    @property
    def servers(self) -> tuple[Self, ...]:
        """The same settings for each of its servers alone, in order."""
        return self._servers

    @cached_property
    def _servers(self) -> tuple[Self, ...]:
        ends = map(_host_and_port, self.hosts or (self.host,))
        return tuple(
            self.model_copy(update={"host": host, "hosts": (), "port": port or self.port}) for host, port in ends
        )

    @property
    def endpoint(self) -> str:
        """Where its servers are: "smtp1.example.com:465, smtp2.example.com:465"."""
        return ", ".join(_written(*_host_and_port(host), self.effective_port) for host in self.hosts or (self.host,))

    @field_validator("host")
    @classmethod
    def _is_host(cls, host: str) -> str:
        check_host(_host_and_port(host)[0])
        return host

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if not hosts:
            raise ValueError("must not be empty")
        for host in hosts:
            check_host(_host_and_port(host)[0])
        if len(set(hosts)) < len(hosts):
            raise ValueError("must not name a server twice")
        return hosts

    @model_validator(mode="before")
    @classmethod
    def _first_is_host(cls, table: Any) -> Any:
        """Let the first of `hosts` be the host where there is no other."""
        if not isinstance(table, dict) or "hosts" not in table or "host" in table:
            return table
        hosts = table["hosts"]
        first = hosts[0] if isinstance(hosts, (list, tuple)) and hosts and isinstance(hosts[0], str) else "localhost"
        return {**table, "host": first}

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if self.hosts and self.host != self.hosts[0]:
            raise ValueError("hosts and host are two ways to say the same: give one of them")
        return self

    @model_validator(mode="after")
    def _is_not_in_clear(self) -> Self:
        for host in self.hosts or (self.host,):
            refuse_clear(self, _host_and_port(host)[0])
        return self

    @field_validator("notify")
    @classmethod
    def _is_one_wish(cls, notify: tuple[Notify, ...]) -> tuple[Notify, ...]:
        if "never" in notify and len(set(notify)) > 1:
            raise ValueError('"never" goes with nothing else')
        return tuple(dict.fromkeys(notify))

    @field_validator("hello")
    @classmethod
    def _is_hello(cls, hello: str | None) -> str | None:
        if hello is not None and not is_hello(hello):
            raise ValueError('must be a full name, such as "crm.example.com", or an address such as "[192.0.2.7]"')
        return hello


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Split "name:port" or "[address]:port"; an IPv6 address alone has colons of its own."""
    try:
        ip_address(text)
    except ValueError:
        host, colon, port = text.rpartition(":")
        if not colon:
            return text, None
        if not (port.isascii() and port.isdigit()):
            return text, None
        if not 1 <= int(port[:6]) <= 65535:
            raise ValueError(f"{port} is no port") from None
        return host.removeprefix("[").removesuffix("]"), int(port)
    return text, None


def _written(host: str, port: int | None, usual: int) -> str:
    return f"{f'[{host}]' if ':' in host else host}:{port or usual}"


class SmtpListenerSettings(MailListenerSettings):
    """A listener, to which a mail server hands its users' mail, or copies of it."""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        Inet.parse(listen)
        return listen

    @property
    def listen_address(self) -> Address:
        """Where it listens."""
        return Inet.parse(self.listen)
