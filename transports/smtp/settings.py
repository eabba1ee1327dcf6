"""The keys of SMTP profiles, of relays and of listeners."""

from collections.abc import AsyncIterator, Sequence

from pydantic import Field, field_validator

from transports._listener.address import Address, Inet
from transports._listener.conversation import Talk, one_line
from transports._listener.settings import MailListenerSettings
from transports._settings import Auth, RelaySettings, is_of_mailbox
from transports.base import Acceptance, Finding
from transports.smtp.probe import examine_relay
from transports.smtp.relay import SmtpRelay, server_of


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


class SmtpTalk(Talk):
    """A conversation in SMTP."""

    @staticmethod
    def reply(answers: Sequence[Acceptance]) -> str:
        """Answer for all recipients at once: 250 if all took the message; 4xx if one may take it later.

        A sender that comes again after 4xx hands over once more what some have already taken; that is a duplicate, and
        no loss, whereas 5xx would be one.
        """
        refused = [answer for answer in answers if not answer.accepted]
        return one_line(min(refused or answers, key=lambda answer: answer.code))


class SmtpListenerSettings(MailListenerSettings):
    """A listener, to which a mail server hands its users' mail, or copies of it."""

    protocol = SmtpTalk

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        Inet.parse(listen)
        return listen

    def _address(self) -> Address:
        return Inet.parse(self.listen)
