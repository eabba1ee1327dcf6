"""The keys of a POP3 profile."""

from collections.abc import AsyncIterator
from typing import ClassVar

from pydantic import Field

from transports._settings import KEEP, Auth, MailboxServerSettings
from transports.base import After, Finding
from transports.pop3.account import Pop3Account
from transports.pop3.mailbox import CAN
from transports.pop3.probe import examine_mailbox


class Pop3Settings(MailboxServerSettings):
    """Mailboxes on a POP3 server."""

    can: ClassVar = CAN
    auth: Auth = Field(description="how to log in")

    @property
    def where(self) -> str:
        """The server."""
        return f"INBOX at {self.host}"

    def open(self, mailbox: str, after: After = KEEP) -> Pop3Account:
        """Make a reader of one mailbox; it connects when it is entered."""
        return Pop3Account(self, mailbox, after)

    def examine(self, mailbox: str | None, after: After) -> AsyncIterator[Finding]:
        """Try everything that reading needs. See `MailboxSettings.examine`."""
        return examine_mailbox(self, mailbox, after)
