"""SMTP, both ways (RFC 5321).

A relay carries our mail:

    settings → endpoints (which server is next) → relay (the pool of connections) → session (one connection)
             → wire (its commands and replies) → transaction (one message)

A mail server hands copies to a listener: transports/_listener is what it has in common with LMTP.
"""

from transports._kinds import RelayKind
from transports._listener import listener_kind
from transports.smtp.conversation import SmtpConversation
from transports.smtp.probe import probe_relay
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpListenerSettings, SmtpRelaySettings

INCOMING = listener_kind("smtp", SmtpListenerSettings, SmtpConversation)
OUTGOING = RelayKind("smtp", settings=SmtpRelaySettings, open=SmtpRelay, probe=probe_relay)
