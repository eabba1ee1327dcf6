"""The way to a connection that is logged in: TCP, TLS, login (RFC 3501 §6.1 and §6.2, RFC 8314)."""

import asyncio
import base64
import ssl
from dataclasses import replace

from transports._net import sasl
from transports._net.credentials import Credential, Token, Tokens, logging_in, whom
from transports._net.tls import asking_for_tls, client_context, no_connection
from transports._net.tls_link import TlsLink
from transports.errors import Permanent, Unauthorized, Unreachable
from transports.imap.connection import FOREIGN, ImapConnection
from transports.imap.encode import quoted
from transports.imap.reply import Reply
from transports.imap.settings import ImapSettings


async def connect_and_log_in(settings: ImapSettings, mailbox: str, tokens: Tokens) -> ImapConnection:
    """Return a connection that is logged in. Raises Unreachable, Unauthorized, Temporary or Permanent."""

    async def connected(credential: Credential) -> ImapConnection:
        imap = await connect(settings)
        try:
            await log_in(imap, settings, credential)
        except BaseException:
            imap.abort("not logged in")
            raise
        return imap

    return await logging_in(settings.auth, mailbox, tokens, connected, settings.auth.act_as or "")


async def connect(settings: ImapSettings) -> ImapConnection:
    """Return a connection that is ready for the login: greeted, encrypted, its capabilities known."""
    imap = await _open_link(settings)
    try:
        async with asking_for_tls(settings, settings.effective_port, lambda _: imap.silent):
            await imap.greeting()
        if settings.security == "starttls":
            await _starttls(imap, settings)
        await imap.capability()
    except BaseException:
        imap.abort("not greeted")
        raise
    return imap


async def log_in(imap: ImapConnection, settings: ImapSettings, credential: Credential) -> None:
    """Log in, unless the server wants no login, and ask for what needs to be enabled."""
    if imap.state == "NONAUTH":
        await _authenticate(imap, credential, encrypted=settings.security != "none")
        await imap.capability()
    await _enable(imap)


async def _open_link(settings: ImapSettings) -> ImapConnection:
    tls = settings.security == "tls"
    port = settings.effective_port
    peer = f"{settings.host}:{port}"
    imap = ImapConnection(peer, settings.timeout)
    create = asyncio.get_running_loop().create_connection
    context = await _context(settings) if tls else None
    try:
        async with asyncio.timeout(settings.timeout):
            if context is None:
                await create(lambda: imap, settings.host, port)
            else:
                link = TlsLink(context, settings.host, imap, imap.connection_made)
                await create(lambda: link, settings.host, port)
                await link.handshake_done()
    except UnicodeError:
        raise Permanent(f"{settings.host!r} is no name of a server") from None
    except OSError as error:
        raise no_connection(peer, error) from error
    except FOREIGN as error:
        raise Unreachable(f"cannot connect to {peer}: {str(error) or type(error).__name__}") from None
    return imap


async def _context(settings: ImapSettings) -> ssl.SSLContext:
    # Reading the authorities is work for the processor and the disk.
    return await asyncio.to_thread(client_context, settings.ca_file, settings.client_cert, settings.client_key)


async def _starttls(imap: ImapConnection, settings: ImapSettings) -> None:
    # A greeting of PREAUTH would leave the session in clear (RFC 9051 §7.1.4).
    if imap.state != "NONAUTH":
        raise Unreachable(f"{imap.peer} greets without a login, which leaves no place for STARTTLS")
    await imap.capability()
    if "STARTTLS" not in imap.known.capabilities:
        raise Permanent(f'{imap.peer} does not offer STARTTLS: is port or security ("tls") right?')
    context = await _context(settings)
    try:
        async with asyncio.timeout(settings.timeout):
            await imap.starttls(context, settings.host)
    except OSError as error:
        raise no_connection(imap.peer, error) from error
    except FOREIGN as error:
        raise Unreachable(f"TLS with {imap.peer} failed: {str(error) or type(error).__name__}") from None


async def _authenticate(imap: ImapConnection, credential: Credential, *, encrypted: bool) -> None:
    offered = imap.known.capabilities
    # What was offered before the login is stale after it.
    imap.known.capabilities = set()
    mechanisms = [name.removeprefix("AUTH=") for name in offered if name.startswith("AUTH=")]
    host, _, port = imap.peer.rpartition(":")
    mechanism = sasl.choose(mechanisms, credential, encrypted=encrypted, host=host, port=int(port))
    if mechanism is not None:
        reply = await _run_sasl(imap, mechanism, at_once="SASL-IR" in offered)
    elif isinstance(credential, Token):
        raise Permanent(f"{imap.peer} takes no access tokens: it offers neither AUTH=XOAUTH2 nor AUTH=OAUTHBEARER")
    elif credential.act_as:
        raise Permanent(f"{imap.peer} does not offer AUTH=PLAIN, which auth.act_as needs")
    elif "LOGINDISABLED" in offered:
        raise Permanent(f'{imap.peer} accepts no password in clear: security = "starttls" or "tls" is needed')
    else:
        reply = await imap.run("LOGIN", quoted(credential.user), quoted(credential.secret))
    if not reply.ok:
        reply = replace(reply, words=sasl.redact(reply.words, credential.secret, mechanism))
        raise reply.refusal(f"{imap.peer} refuses the login of {whom(credential)}", Unauthorized)
    if mechanism is not None:
        sasl.require_complete(mechanism, imap.peer)
    imap.state = "AUTH"


async def _run_sasl(imap: ImapConnection, mechanism: sasl.Mechanism, *, at_once: bool) -> Reply:
    if not at_once:
        return await imap.run("AUTHENTICATE", mechanism.name, respond=mechanism.respond)
    initial = base64.b64encode(mechanism.respond(b"") or b"").decode()
    return await imap.run("AUTHENTICATE", mechanism.name, initial, respond=mechanism.respond)


async def _enable(imap: ImapConnection) -> None:
    """Enable what a server does only for clients that ask for it (RFC 5161), in one command.

    Without UTF8=ACCEPT it gives messages with UTF-8 headers changed, or not at all (RFC 6855 §3, RFC 6858). CONDSTORE
    makes it count changes, which tells a folder that went back; QRESYNC makes SELECT name what is new (RFC 7162).
    """
    offered = imap.known.capabilities
    names = {"UTF8=ACCEPT": "UTF8=ACCEPT", "UTF8=ONLY": "UTF8=ACCEPT", "CONDSTORE": "CONDSTORE", "QRESYNC": "QRESYNC"}
    wanted = dict.fromkeys(name for capability, name in names.items() if capability in offered)
    if "ENABLE" in offered and wanted:
        await imap.run("ENABLE", *wanted)
