"""POP3: the INBOX of one mailbox, in sessions (RFC 1939, 2449).

    settings → account → session (connect, TLS, login … QUIT) → maildrop → mailbox   list → fetch → settle

A session shows the maildrop as it was at the login, and locks it for everybody else: it is opened for a look, and ended
before we wait. A message is known by its UIDL; what was shown is remembered as the set of these. QUIT is what makes
deletions happen, so that settling ends a session, and nothing is settled before QUIT is answered.
"""

from collections.abc import AsyncIterator
from typing import ClassVar

from pydantic import Field

from transports._pop3.account import Pop3Account
from transports._pop3.examine import examine_mailbox
from transports._pop3.mailbox import CAN
from transports._settings import KEEP, Auth, MailboxServerSettings
from transports.base import After, Finding


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


INCOMING = Pop3Settings
