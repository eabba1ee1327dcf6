"""SMTP, both ways: a relay that carries our mail, and a listener to which a mail server hands copies (RFC 5321)."""

from transports.smtp.settings import SmtpListenerSettings, SmtpRelaySettings

INCOMING = SmtpListenerSettings
OUTGOING = SmtpRelaySettings
