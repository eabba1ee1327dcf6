"""IMAP: the folders of one mailbox over one connection (RFC 3501, 9051).

    settings → login → session ─┬─ account   which folders there are, and which may have something new
                                └─ mailbox   list → fetch → settle, by UIDs only

Reading marks nothing; what a person has read makes no difference. A connection that is lost stays lost: everything
then raises Unreachable until the account is opened anew. Only fetching connects again, to find the one message that
makes a server drop the connection, so that it does not stop its mailbox.
"""

from transports._kinds import MailboxKind
from transports.imap.account import ImapAccount
from transports.imap.probe import probe_mailbox
from transports.imap.settings import ImapSettings

INCOMING = MailboxKind("imap", settings=ImapSettings, open=ImapAccount, probe=probe_mailbox, appends=True)
