"""From nothing to a session: connect, TLS, login (RFC 3501 §6.1 and §6.2, RFC 8314)."""

import asyncio
import base64

from transports._imap_protocol import ImapProtocol
from transports._imap_request import quoted
from transports._settings import Auth, ServerSettings
from transports._tls import client_context, no_connection
from transports.base import Permanent, Unauthorized, Unreachable


async def log_in(server: ServerSettings, auth: Auth, mailbox: str) -> ImapProtocol:
    """Return a connection that is logged in. Raises Unreachable, Unauthorized, Temporary or Permanent."""
    protocol = await _connect(server)
    try:
        await protocol.greeting()
        if server.security == "starttls":
            await _starttls(protocol, server)
        await protocol.capability()
        if protocol.state == "NONAUTH":
            await _authenticate(protocol, auth.user.replace("{mailbox}", mailbox), auth.password.reveal(mailbox))
            await protocol.capability()
    except BaseException:
        protocol.abort("not logged in")
        raise
    return protocol


async def _connect(server: ServerSettings) -> ImapProtocol:
    tls = server.security == "tls"
    port = server.port or (993 if tls else 143)
    peer = f"{server.host}:{port}"
    context = client_context(server.ca_file) if tls else None
    try:
        async with asyncio.timeout(server.timeout):
            _, protocol = await asyncio.get_running_loop().create_connection(
                lambda: ImapProtocol(peer, server.timeout),
                server.host,
                port,
                ssl=context,
                server_hostname=server.host if tls else None,
            )
    except OSError as error:
        raise no_connection(peer, error) from error
    except UnicodeError:
        raise Permanent(f"{server.host!r} is no name of a server") from None
    return protocol


async def _starttls(protocol: ImapProtocol, server: ServerSettings) -> None:
    # A greeting of PREAUTH would leave the session in clear (RFC 9051 §7.1.4).
    if protocol.state != "NONAUTH":
        raise Unreachable(f"{protocol.peer} greets without a login, which leaves no place for STARTTLS")
    await protocol.capability()
    if "STARTTLS" not in protocol.capabilities:
        raise Permanent(f'{protocol.peer} does not offer STARTTLS: is port or security ("tls") right?')
    try:
        async with asyncio.timeout(server.timeout):
            await protocol.starttls(client_context(server.ca_file), server.host)
    except OSError as error:
        raise no_connection(protocol.peer, error) from error


async def _authenticate(protocol: ImapProtocol, user: str, password: str) -> None:
    offered = protocol.capabilities
    # What was offered before the login is stale after it.
    protocol.capabilities = set()
    if "AUTH=PLAIN" in offered:
        # Unlike LOGIN it carries any character (RFC 4616).
        if "\0" in user + password:
            raise Permanent("user and password cannot hold a NUL")
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        at_once = (token,) if "SASL-IR" in offered else ()
        reply = await protocol.run("AUTHENTICATE", "PLAIN", *at_once, answers=() if at_once else (token,))
    elif "LOGINDISABLED" in offered:
        raise Permanent(f'{protocol.peer} accepts no password in clear: security = "starttls" or "tls" is needed')
    else:
        reply = await protocol.run("LOGIN", quoted(user), quoted(password))
    if not reply.ok:
        raise reply.without(password).refusal(f"{protocol.peer} refuses the login of {user}", Unauthorized)
    protocol.state = "AUTH"
