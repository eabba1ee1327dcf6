"""Probes a relay: everything up to the login, whose mail it takes, and QUIT; nothing is sent (RFC 5321)."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from transports._content import BytesContent
from transports._net.auth import Auth
from transports._net.credentials import NO_TOKENS, Tokens, credential_of, whom
from transports._net.probe import connect_in_steps, examine, found_ours, refused_advice, retry_advice
from transports._net.secret import fill
from transports.base import Finding, Sender
from transports.errors import TransportError, Unauthorized
from transports.smtp.endpoints import Endpoints, together
from transports.smtp.hello import own_name
from transports.smtp.session import PORTS, Session
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.wire import Lost

_EXTENSIONS = ("8bitmime", "smtputf8", "enhancedstatuscodes", "dsn", "pipelining")
_MOST_NAMED = 5
_MOST_LOGINS = 5


async def probe_relay(
    settings: SmtpRelaySettings, senders: Sequence[Sender], tokens: Tokens = NO_TOKENS
) -> AsyncIterator[Finding]:
    """See `RelayKind.probe`."""
    name = await asyncio.to_thread(own_name)
    for number, server in enumerate(settings.servers, 1):
        if len(settings.servers) > 1:
            yield Finding("server", "ok", f"{server.endpoint}, number {number} of {len(settings.servers)}")
        if server.auth is None or not server.auth.is_of_mailbox:
            async for finding in _probe_server(server, senders, name, tokens):
                yield finding
        else:
            async for finding in _probe_mailboxes(server, senders, name, tokens):
                yield finding


async def _probe_mailboxes(
    server: SmtpRelaySettings, senders: Sequence[Sender], name: str | None, tokens: Tokens
) -> AsyncIterator[Finding]:
    """Try the logins of some mailboxes, over a connection each; where there are none, all that comes before."""
    if not senders:
        async for finding in _probe_server(server, (), name, tokens, logs_in=False):
            yield finding
        yield Finding("login", "warning", "each mailbox has a login of its own, and there is no owner to try one of")
    for sender in senders[:_MOST_LOGINS]:
        async for finding in _probe_server(server, [sender], name, tokens):
            yield finding
    if len(senders) > _MOST_LOGINS:
        words = f"{_MOST_LOGINS} of {len(senders)} mailboxes were tried, each with a login of its own"
        yield Finding("logins", "ok", f'{words}; "email-router test --owner ADDRESS" tries another')


async def _probe_server(
    server: SmtpRelaySettings, senders: Sequence[Sender], name: str | None, tokens: Tokens, *, logs_in: bool = True
) -> AsyncIterator[Finding]:
    steps, session = await connect_in_steps(server, PORTS, lambda: _connect(server, name))
    for finding in steps:
        yield finding
    if session is None:
        return
    try:
        for finding in await found_ours(server.certificate.file if server.certificate else None):
            yield finding
        if not logs_in:
            return
        mailbox = senders[0].mailbox if server.auth is not None and server.auth.is_of_mailbox else ""
        found = None
        async for found in _log_in(session, server.auth, mailbox, tokens):
            yield found
        if found is not None and found.state != "failed":
            yield _capabilities(session)
            if paths := list(dict.fromkeys(sender.return_path for sender in senders)):
                yield await _may_send(session, paths, server.timeout)
    finally:
        await session.end()


async def _connect(server: SmtpRelaySettings, name: str | None) -> Session:
    """Connect to the first address of a server that answers."""
    errors: list[TransportError] = []
    async for endpoint in Endpoints(server).in_order(errors):
        try:
            return await Session.connect(endpoint, name)
        except TransportError as error:
            errors.append(error)
    raise together(errors)


async def _log_in(session: Session, auth: Auth | None, mailbox: str, tokens: Tokens) -> AsyncIterator[Finding]:
    if auth is None:
        await session.log_in(None)
        yield Finding("login", "ok", "the profile has none: the relay has to trust this machine's address")
        return
    async for finding in examine(auth, mailbox, tokens):
        yield finding
        if finding.state == "failed":
            return
    try:
        credential = await credential_of(auth, mailbox, tokens)
        await session.log_in(credential)
    except Unauthorized as error:
        words = f"the login of {fill(auth.user, mailbox)} is refused: {error}"
        yield Finding("login", "failed", words, refused_advice(auth, mailbox, words))
    except TransportError as error:
        yield Finding("login", "failed", str(error), retry_advice(error))
    else:
        yield Finding("login", "ok", f"as {whom(credential)}")


def _capabilities(session: Session) -> Finding:
    words = [name.upper() for name in _EXTENSIONS if session.offer(name) is not None]
    offered = session.extensions
    if offered.most_bytes is not None:
        words.append(f"messages of {offered.most_bytes / 1e6:.1f} MB at most")
    if offered.most_recipients is not None:
        words.append(f"{offered.most_recipients} recipients at a time")
    return Finding("capabilities", "ok", ", ".join(words) or "none that matter")


async def _may_send(session: Session, senders: Sequence[str], seconds: float) -> Finding:
    """Ask whether each may send, as many as `seconds` allow: MAIL FROM, and RSET; no recipient is named."""
    refused: list[str] = []
    number, ended = 0, ""
    try:
        async with asyncio.timeout(seconds):
            for number, sender in enumerate(senders, 1):  # noqa: B007  # it tells how far we came
                if (words := await _refusal(session, sender)) is not None:
                    refused.append(f"{sender}: {words}")
    except Lost as lost:
        ended = f"the relay ended it after {number} of {len(senders)} were tried: {lost}"
    except TimeoutError:
        ended = f"{number} of {len(senders)} were tried within {seconds:g} s"
    if refused:
        more = f"; and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
        words = f"{len(refused)} of {len(senders)} may not send: {'; '.join(refused[:_MOST_NAMED])}{more}"
        advice = "let the relay's login send in the name of these addresses"
        return Finding("senders", "failed", f"{words} ({ended})" if ended else words, advice)
    if ended:
        return Finding("senders", "warning", ended)
    whose = senders[0] if len(senders) == 1 else f"any of {len(senders)} mailboxes"
    return Finding("senders", "ok", f"MAIL FROM {whose} is taken (some relays refuse only once a recipient is named)")


async def _refusal(session: Session, sender: str) -> str | None:
    """The words with which a sender is refused; None if it may send. Raises Lost."""
    if (fault := session.extensions.fault_of_address(sender)) is not None:
        return " ".join(fault)
    reply = await session.ask(session.extensions.mail(sender, (), BytesContent(b""), ""))
    if reply.code == 421:
        raise Lost(str(reply))
    if (await session.ask("RSET")).code == 421:
        raise Lost(str(reply))
    return None if reply.is_positive else str(reply)
