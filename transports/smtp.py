"""SMTP, both ways: a relay that carries our mail, and a listener to which a mail server hands copies (RFC 5321)."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator

from transports._listener import Door, MailListener, parse_listen, server_context
from transports._listener_examine import examine_listener
from transports._relay import SmtpRelay, server_of
from transports._settings import Auth, ListenerSettings, RelaySettings, is_of_mailbox
from transports._smtp_examine import examine_relay
from transports.base import Acceptance, Finding, TransportError


class SmtpRelaySettings(RelaySettings):
    """A relay; its port is by default 465 for tls, 587 for starttls and 25 for none."""

    auth: Auth | None = Field(None, description="login at the relay (PLAIN or LOGIN); none where it trusts our address")
    final_timeout: float = Field(
        600,
        gt=0,
        le=3600,
        description="seconds to wait for the answer to a message; giving up earlier leaves its outcome unknown",
    )

    @field_validator("auth")
    @classmethod
    def _has_no_mailbox(cls, auth: Auth | None) -> Auth | None:
        if auth is not None and (is_of_mailbox(auth.user) or is_of_mailbox(str(auth.password.file))):
            raise ValueError("a relay has one login for all its mail: {mailbox} means nothing here")
        return auth

    def open(self) -> SmtpRelay:
        """Make the relay; it connects when it first sends."""
        return SmtpRelay(self, self.auth, final_timeout=self.final_timeout)

    async def examine(self) -> AsyncIterator[Finding]:
        """Try everything that sending needs. See `RelaySettings.examine`."""
        server = await server_of(self, self.auth, self.final_timeout)
        async for finding in examine_relay(self, server, self.auth):
            yield finding


class SmtpListenerSettings(ListenerSettings):
    """A listener, to which a mail server hands a copy of its users' mail."""

    clients: tuple[IPvAnyNetwork, ...] = Field(
        ("127.0.0.0/8", "::1/128"), min_length=1, validate_default=True, description="networks that may connect"
    )
    max_size: int = Field(50_000_000, ge=65536, description="bytes of the largest message that is taken")
    max_recipients: int = Field(1000, ge=100, description="recipients of one message")
    timeout: float = Field(300, gt=0, le=3600, description="seconds of silence after which a connection is closed")
    cert_file: Path | None = Field(None, description="certificate chain (PEM); with it, STARTTLS is offered")
    key_file: Path | None = Field(None, description="the certificate's private key (PEM), if it is in another file")

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        parse_listen(listen)
        return listen

    @model_validator(mode="after")
    def _has_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        return self

    def open(self) -> MailListener:
        """Make the listener; it binds when it is entered. Raises Permanent if the certificate cannot be used."""
        return MailListener(self._door(), one_answer)

    async def examine(self) -> AsyncIterator[Finding]:
        """Try whether it can listen, or does already. See `ListenerSettings.examine`."""
        try:
            door = self._door()
        except TransportError as error:
            yield Finding("TLS", "failed", str(error), "are cert_file and key_file right, and may we read them?")
            return
        async for finding in examine_listener(MailListener(door, one_answer), door):
            yield finding

    def _door(self) -> Door:
        host, port = parse_listen(self.listen)
        return Door(
            host=host,
            port=port,
            clients=self.clients,
            max_size=self.max_size,
            max_recipients=self.max_recipients,
            timeout=self.timeout,
            context=server_context(self.cert_file, self.key_file) if self.cert_file is not None else None,
        )


def one_answer(answers: Sequence[Acceptance]) -> str:
    """Answer for all recipients at once, as SMTP must: 250 if all took the message; 4xx if one may take it later.

    A sender that comes again after 4xx hands over once more what some have already taken; that is a duplicate, and no
    loss, whereas 5xx would be one.
    """
    refused = [answer for answer in answers if not answer.accepted]
    answer = min(refused or answers, key=lambda answer: answer.code)
    return f"{answer.code} {' '.join(answer.text.split())}"


INCOMING = SmtpListenerSettings
OUTGOING = SmtpRelaySettings
