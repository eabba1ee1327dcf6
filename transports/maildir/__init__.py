"""Maildir: mailboxes that lie on disk (cr.yp.to/proto/maildir.html), for sites without a network and for imports.

    settings → account → mailbox   list → fetch → settle, by the names of files
                            ├─ files   what is done on disk; it blocks
                            └─ disk    threads for what blocks, and how long that may take

A message is one file: delivered into `new`, and renamed into `cur` with its flags once a reader has seen it. The part
of its name before ":" is its own for ever, so that a message stays the same wherever a mail program moves it. Renaming
is atomic: at no instant is a message half settled. Folders inside the mailbox are those of Maildir++ (".Sent",
".Customers.2026"), with names as IMAP writes them.
"""

from transports._kinds import MailboxKind
from transports.base import After
from transports.maildir.account import MaildirAccount
from transports.maildir.probe import probe_mailbox
from transports.maildir.settings import MaildirSettings

INCOMING = MailboxKind(
    "maildir",
    settings=MaildirSettings,
    open=MaildirAccount,
    probe=probe_mailbox,
    appends=True,
    actions=frozenset(["keep", "seen", "move", "delete"]),
    default_start="all",
    default_after=After("seen"),
)
