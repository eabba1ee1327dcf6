"""What the probes of servers have in common: the way there, step by step, and its TLS, in an admin's words."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from transports._net.auth import Auth
from transports._net.credentials import Tokens, whose
from transports._net.oauth2 import OAuth2
from transports._net.secret import NoSecret
from transports._net.tls import OTHER_NAME, SpeaksTls, valid_until
from transports._settings import Security, ServerSettings
from transports.base import Finding
from transports.errors import Temporary, TransportError, Unreachable

EXPIRES_SOON = timedelta(days=21)
"""Who renews certificates by a program does so 30 days before they end: later, something does not work."""

OURS_EXPIRES_SOON = timedelta(days=30)
"""A client certificate is often renewed by hand, and by somebody else."""

# X509_V_ERR_… (OpenSSL, x509_vfy.h)
_EXPIRED = {10}

# Exchange Online (learn.microsoft.com, and seen by many): a token that is right, for a mailbox that it may not open.
_NOT_CONNECTED = re.compile(r"authenticated but not connected", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"\bstatus 403\b|access ?denied|disabled for the (?:tenant|mailbox)|5\.7\.139", re.IGNORECASE)
_NO_SMTP = re.compile(r"SmtpClientAuthentication is disabled", re.IGNORECASE)
_NO_PASSWORDS = re.compile(r"basic authentication is (?:disabled|not supported)", re.IGNORECASE)

_TOO_MANY = re.compile(r"\[LIMIT\]|connections", re.IGNORECASE)

Ports = Mapping[Security, int]
"""The protocol's own port for each kind of security."""


class Connected(Protocol):
    """A connection before the login."""

    @property
    def tls(self) -> ssl.SSLObject | ssl.SSLSocket | None:
        """Its encryption, if there is any."""
        ...


Connection = TypeVar("Connection", bound=Connected)


async def connect_in_steps(
    server: ServerSettings, usual: Ports, connect: Callable[[], Awaitable[Connection]]
) -> tuple[Sequence[Finding], Connection | None]:
    """Go to a server, step by step, up to the login. The connection, if there is one, is the caller's to end."""
    port = server.port or usual[server.security]
    name = await _find_name(server, port)
    if name.state == "failed":
        return [name], None
    try:
        connection = await connect()
    except TransportError as error:
        return [name, *connection_findings(error, server, port, usual)], None
    answers = Finding("connection", "ok", f"{server.host}:{port} answers")
    return [name, answers, found_tls(connection.tls, server)], connection


async def _find_name(server: ServerSettings, port: int) -> Finding:
    """Look up the server's name."""
    host = server.host
    try:
        async with asyncio.timeout(server.timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        words = f"{host} cannot be looked up: the name servers do not answer"
        return Finding("name", "failed", words, "does this machine (or container) reach its name servers?")
    except (OSError, UnicodeError) as error:
        words = f"{host} cannot be found: {getattr(error, 'strerror', None) or 'it is no name of a server'}"
        return Finding("name", "failed", words, 'is "host" right, and does the DNS of this machine know it?')
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if addresses == [host]:
        return Finding("name", "ok", f"{host} is an address")
    return Finding("name", "ok", f"{host} is {', '.join(addresses)}")


def connection_findings(error: TransportError, server: ServerSettings, port: int, usual: Ports) -> Sequence[Finding]:
    """Tell what stood in the way to a server whose name was found, before the login."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        untrusted = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else None
        advice = _ports(usual) if untrusted is None else _trust(untrusted, server, port)
        reached = Finding("connection", "ok", f"{server.host}:{port} answers")
        return [reached, Finding("TLS", "failed", str(error), advice)]
    if isinstance(error, SpeaksTls):
        return [Finding("connection", "failed", str(error), _ports(usual))]
    if isinstance(error, Unreachable):
        advice = f"does a mail server listen at port {port} of {server.host}, and no firewall stand between?"
        return [Finding("connection", "failed", str(error), f"{advice} {_ports(usual)}")]
    if error.__cause__ is None:
        # Ours, not the server's: no STARTTLS, or a file that cannot be used.
        return [Finding("TLS", "failed", str(error), _ports(usual) if "STARTTLS" in str(error) else "")]
    return [Finding("connection", "failed", str(error), f"these are the server's own words; {_ports(usual)}")]


async def examine(auth: Auth, mailbox: str, tokens: Tokens) -> AsyncIterator[Finding]:
    """Try to have a token, where the login takes one. Never raises a TransportError."""
    if auth.oauth2 is not None:
        async for finding in tokens.examine(auth.oauth2, whose(auth, mailbox)):
            yield finding


def refused_advice(auth: Auth, mailbox: str, words: str) -> str:
    """Advise what to do about a login that the server refuses, in its `words`."""
    if _NO_SMTP.search(words):
        return (
            "authenticated SMTP is switched off: for the mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled "
            "$false), or by security defaults or Set-TransportConfig for the whole tenant"
        )
    return _password_advice(auth, mailbox, words) if auth.oauth2 is None else _token_advice(auth.oauth2, words)


def _password_advice(auth: Auth, mailbox: str, words: str) -> str:
    if _NO_PASSWORDS.search(words):
        return "the server takes no passwords: log in by access token (oauth2)"
    return f"{auth.whence(mailbox)}: is it right, and the user name?"


def _token_advice(oauth2: OAuth2, words: str) -> str:
    if _NOT_CONNECTED.search(words):
        return (
            "the token is good, and the mailbox is not opened to it: does the mailbox exist, and may the application "
            '(Microsoft 365: New-ServicePrincipal, Add-MailboxPermission) or the user who logged in open it? "user" '
            "names the mailbox"
        )
    if _NOT_ALLOWED.search(words):
        return (
            "the application or the user is kept from this mailbox by a policy: is the mailbox in the group that it is "
            "for, and IMAP, POP or authenticated SMTP switched on for it?"
        )
    if oauth2.provider == "microsoft" and oauth2.effective_grant == "client_credentials":
        return (
            "does Exchange know the application (New-ServicePrincipal, with the object id of the enterprise "
            "application, not that of the app registration), is the mailbox opened to it (Add-MailboxPermission), and "
            'does the token name a permission for it (scope)? "user" names the mailbox'
        )
    return (
        f"the token is from {oauth2.where}: is it for this server (scope), may it be used for this mailbox, and does "
        '"user" name the mailbox?'
    )


def retry_advice(error: TransportError) -> str:
    """Advise what to do about a refused login: nothing, where it goes away by itself."""
    if isinstance(error, NoSecret):
        return error.advice
    if not isinstance(error, Temporary) or isinstance(error, Unreachable):
        return ""
    if _TOO_MANY.search(str(error)) is None:
        return "this goes away by itself: try again later"
    return (
        "a router that runs may hold the connections that the server grants: raise its limit for each user (Dovecot: "
        'mail_max_userip_connections), or lower "max_connections" where the limit is one for all'
    )


def found_tls(
    tls: ssl.SSLObject | ssl.SSLSocket | None, server: ServerSettings, *, now: datetime | None = None
) -> Finding:
    """Tell how a connection is encrypted, and how long the server's certificate lasts."""
    if tls is None:
        if server.allow_clear:
            words = "there is none: passwords and mail go in clear text"
            return Finding("TLS", "warning", words, 'security = "starttls" or "tls", if the server can do it')
        return Finding("TLS", "ok", "there is none, and nothing leaves this machine")
    certificate = tls.getpeercert() or {}
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    words = f"{tls.version()}; the certificate is from {_issuer(certificate)}, valid until {until:%Y-%m-%d}"
    left = until - (now or datetime.now(UTC))
    if left >= EXPIRES_SOON:
        return Finding("TLS", "ok", words)
    advice = f"renew the certificate of {server.host}: once it has expired, we do not connect any more"
    return Finding("TLS", "warning", f"{words}, {_days(left)} from now", advice)


def _days(left: timedelta) -> str:
    return "less than a day" if left.days < 1 else "1 day" if left.days == 1 else f"{left.days} days"


async def found_ours(cert_file: Path | None, *, now: datetime | None = None) -> Sequence[Finding]:
    """Tell how long the client certificate in a file lasts, where we show one and that can be told."""
    until = None if cert_file is None else await asyncio.to_thread(valid_until, cert_file)
    if until is None:
        return []
    words = f"we show {cert_file}, valid until {until:%Y-%m-%d}"
    left = until - (now or datetime.now(UTC))
    if left >= OURS_EXPIRES_SOON:
        return [Finding("certificate", "ok", words)]
    advice = "have it renewed, and put the new one in its place: once it has expired, the server does not know us"
    return [Finding("certificate", "warning", f"{words}, {_days(left)} from now", advice)]


def content(messages: int, size: int | None) -> str:
    """Say how much there is."""
    if messages == 0:
        return "empty"
    words = "1 message" if messages == 1 else f"{messages} messages"
    return words if size is None else f"{words}, {volume(size)}"


def volume(size: float) -> str:
    """Write a number of bytes."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.1f} {units[0]}" if size < 10 and units[0] != "bytes" else f"{size:.0f} {units[0]}"


def _issuer(certificate: Mapping[str, object]) -> str:
    parts = certificate.get("issuer")
    names = {key: text for part in parts for key, text in part} if isinstance(parts, tuple) else {}
    common, organization = names.get("commonName"), names.get("organizationName")
    if common and organization:
        return f"{common} ({organization})"
    return common or organization or "an authority without a name"


def _trust(verify_code: int, server: ServerSettings, port: int) -> str:
    if verify_code in _EXPIRED:
        return f"renew the certificate of {server.host}"
    if verify_code in OTHER_NAME:
        return 'write as "host" a name that the certificate is for'
    if server.ca_file is not None:
        return f"{server.ca_file} (ca_file) does not hold the authority that the certificate of {server.host} is from"
    return f'write as "ca_file" the file (PEM) with the authority that the certificate of {server.host}:{port} is from'


def _ports(usual: Ports) -> str:
    kinds: dict[int, list[str]] = {}
    for security, port in usual.items():
        kinds.setdefault(port, []).append(f'"{security}"')
    return "usual ports are " + ", ".join(f"{port} (security = {' or '.join(kind)})" for port, kind in kinds.items())


def _cause(error: BaseException) -> BaseException | None:
    """Find the system's or TLS's error beneath ours; libraries wrap them in their own."""
    cause = error.__cause__
    while cause is not None and isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    return cause if isinstance(cause, OSError) else None
