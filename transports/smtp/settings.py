"""The keys of SMTP profiles, of relays and of listeners."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, field_validator

from transports._listener.address import Address, Inet
from transports._listener.settings import MailListenerSettings
from transports._net.auth import Auth, is_of_mailbox
from transports._settings import RelayServerSettings, Security
from transports.smtp.hello import is_hello


class SmtpRelaySettings(RelayServerSettings):
    """A relay; its port is by default 465 for tls, 587 for starttls and 25 for none."""

    ports: ClassVar[Mapping[Security, int]] = {"tls": 465, "starttls": 587, "none": 25}
    auth: Auth | None = Field(None, description="login at the relay (PLAIN or LOGIN); none where it trusts our address")
    hello: str | None = Field(
        None,
        description="name that we say in EHLO, `crm.example.com`; by default this machine's full name or, where it has "
        "none (most containers), the address that it connects from",
    )
    final_timeout: float = Field(
        600,
        gt=0,
        le=3600,
        description="seconds to wait for the answer to a message; giving up earlier leaves its outcome unknown",
    )

    @field_validator("hello")
    @classmethod
    def _is_hello(cls, hello: str | None) -> str | None:
        if hello is not None and not is_hello(hello):
            raise ValueError('must be a full name, such as "crm.example.com", or an address such as "[192.0.2.7]"')
        return hello

    @field_validator("auth")
    @classmethod
    def _has_no_mailbox(cls, auth: Auth | None) -> Auth | None:
        if auth is not None and (is_of_mailbox(auth.user) or is_of_mailbox(str(auth.password.file))):
            raise ValueError("a relay has one login for all its mail: {mailbox} means nothing here")
        return auth


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
