"""POP3: the INBOX of one mailbox, in sessions (RFC 1939, 2449).

    settings → connection   connect, TLS, login, one look at the maildrop, QUIT
                   │
               session      one connection after another, each for one task at a time
                   │
    account →  mailbox      list → fetch (poison: what cannot be read) → settle

A session shows the maildrop as it was at the login, and locks it for everybody else: it is opened for a look, and ended
before we wait. A message is known by its UIDL; what was shown is remembered as the set of these. QUIT is what makes
deletions happen, so that settling ends a session, and nothing is settled before QUIT is answered.
"""

from transports._kinds import MailboxKind
from transports.pop3.account import Pop3Account
from transports.pop3.mailbox import ACTIONS
from transports.pop3.probe import probe_mailbox
from transports.pop3.settings import Pop3Settings

INCOMING = MailboxKind("pop3", settings=Pop3Settings, open=Pop3Account, probe=probe_mailbox, actions=ACTIONS)
