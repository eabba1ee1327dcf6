"""Probes a relay: everything up to the login, and QUIT; nothing is sent (RFC 5321)."""

import asyncio
from collections.abc import AsyncIterator

from transports._net.auth import Auth
from transports._net.probe import connect_in_steps, retry_advice
from transports.base import Finding
from transports.errors import TransportError, Unauthorized
from transports.smtp.hello import own_name
from transports.smtp.places import Places, together
from transports.smtp.session import PORTS, Session
from transports.smtp.settings import SmtpRelaySettings

_EXTENSIONS = ("8bitmime", "smtputf8", "enhancedstatuscodes")


async def probe_relay(settings: SmtpRelaySettings) -> AsyncIterator[Finding]:
    """See `RelayKind.probe`."""
    name = await asyncio.to_thread(own_name)
    for number, server in enumerate(settings.servers, 1):
        if len(settings.servers) > 1:
            yield Finding("server", "ok", f"{server.endpoint}, number {number} of {len(settings.servers)}")
        async for finding in _probe_server(server, name):
            yield finding


async def _probe_server(server: SmtpRelaySettings, name: str | None) -> AsyncIterator[Finding]:
    steps, session = await connect_in_steps(server, PORTS, lambda: _connect(server, name))
    for finding in steps:
        yield finding
    if session is None:
        return
    try:
        login = await _log_in(session, server.auth)
        yield login
        if login.state != "failed":
            yield _capabilities(session)
    finally:
        session.hang_up()


async def _connect(server: SmtpRelaySettings, name: str | None) -> Session:
    """Connect to the first address of a server that answers."""
    errors: list[TransportError] = []
    async for place in Places(server).in_order(errors):
        try:
            return await Session.connect(place, name)
        except TransportError as error:
            errors.append(error)
    raise together(errors)


async def _log_in(session: Session, auth: Auth | None) -> Finding:
    if auth is None:
        return Finding("login", "ok", "the profile has none: the relay has to trust this machine's address")
    try:
        await session.log_in()
    except Unauthorized as error:
        words = f"the login of {auth.user} is refused: {error}"
        return Finding(
            "login", "failed", words, f"the password is from {auth.password.where()}: is it right, and the user name?"
        )
    except TransportError as error:
        return Finding("login", "failed", str(error), retry_advice(error))
    return Finding("login", "ok", f"as {auth.user}")


def _capabilities(session: Session) -> Finding:
    words = [name.upper() for name in _EXTENSIONS if session.offer(name) is not None]
    limit = session.offer("size") or ""
    if limit.isascii() and limit.isdigit() and int(limit):
        words.append(f"messages of {int(limit) / 1e6:.1f} MB at most")
    return Finding("capabilities", "ok", ", ".join(words) or "none that matter")
