"""The keys of a POP3 profile."""

from pydantic import Field

from transports._net.auth import Auth
from transports._settings import MailboxServerSettings


class Pop3Settings(MailboxServerSettings):
    """Mailboxes on a POP3 server."""

    auth: Auth = Field(description="how to log in")

    @property
    def where(self) -> str:
        """The server."""
        return f"INBOX at {self.host}"
