"""The keys of a POP3 profile."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from transports._net.auth import Auth
from transports._net.secret import fill
from transports._settings import MailboxServerSettings, Security


class Pop3Settings(MailboxServerSettings):
    """Mailboxes on a POP3 server."""

    ports: ClassVar[Mapping[Security, int]] = {"tls": 995, "starttls": 110, "none": 110}
    auth: Auth = Field(description="how to log in")

    def account_of(self, mailbox: str) -> str:
        """Login and server."""
        return f"{fill(self.auth.user, mailbox)}@{self.endpoint.lower()}"

    @property
    def where(self) -> str:
        """The server."""
        return f"INBOX at {self.server}"
