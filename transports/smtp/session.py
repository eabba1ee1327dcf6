"""One connection to a relay: opened and logged in by aiosmtplib, then used for one message after the other."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Coroutine, Iterator
from ipaddress import ip_address
from typing import Any, Self, cast

import aiosmtplib

from transports._content import BytesContent, Content
from transports._net import sasl
from transports._net.credentials import Credential
from transports._net.tls import asking_for_tls, client_context, no_connection
from transports.base import Begin
from transports.errors import Permanent, Temporary, Unauthorized, Unreachable
from transports.smtp.dot_stuffing import DotStuffer
from transports.smtp.endpoints import Endpoint
from transports.smtp.extensions import Extensions
from transports.smtp.hello import literal
from transports.smtp.logins import RefusedLogin
from transports.smtp.reply import Reply
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.wire import Lost, Wire

PORTS = SmtpRelaySettings.ports
_FAREWELL = 1.0  # seconds
_LONGEST_INITIAL = 480
"""Characters that go with AUTH; what is longer waits for the server to ask (RFC 4954 §4), as a token often is."""


class _Client(aiosmtplib.SMTP):
    def close(self) -> None:
        """Close at once: in order, TLS would wait for the server's farewell."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()
        super().close()


class Session:
    """A connection that is ready for a message: `messages` it was given, and whether one was left half said (RSET)."""

    def __init__(self, endpoint: Endpoint, name: str | None, client: aiosmtplib.SMTP) -> None:
        self.endpoint = endpoint
        self.messages = 0
        self.rset_due = False
        self.extensions = Extensions()
        self._settings = endpoint.server
        self._name = name
        self._client = client
        self._wire: Wire | None = None

    @classmethod
    async def open(cls, endpoint: Endpoint, name: str | None, credential: Credential | None) -> Self:
        """Connect, encrypt, log in. Raises Unreachable, Temporary or Permanent in the server's words.

        What the login itself meets is a RefusedLogin, unless the connection is lost.
        """
        session = await cls.connect(endpoint, name)
        try:
            await session.log_in(credential)
        except Unreachable:
            raise
        except (Temporary, Permanent) as error:
            raise RefusedLogin(error) from error
        return session

    @classmethod
    async def connect(cls, endpoint: Endpoint, name: str | None) -> Self:
        """Connect and encrypt, ready for the login. `name` is this machine's, for EHLO, unless the settings say one."""
        settings = endpoint.server
        with _translated(endpoint.peer):
            context = None if settings.security == "none" else await asyncio.to_thread(_context, settings)
            connection = await endpoint.connect()
        client = _Client(
            hostname=settings.host,
            sock=connection,
            local_hostname=settings.hello or name or "localhost",  # or connect() would look it up; _hello() says it
            timeout=settings.timeout,
            use_tls=settings.security == "tls",
            start_tls=False,  # not left to connect(): what fails then is to be told in words
            tls_context=context,
        )
        session = cls(endpoint, name, client)
        async with asking_for_tls(settings, settings.effective_port):
            await session._or_close(session._connect())
        return session

    async def log_in(self, credential: Credential | None) -> None:
        """Log in, where there is anything to log in with; then the connection is ready for mail."""
        if credential is not None:
            await self._or_close(self._login(credential))
        with _translated(self.endpoint.peer):
            self._wire = Wire(self._protocol_transport)

    async def _or_close(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to its end, or close the connection."""
        try:
            with _translated(self.endpoint.peer):
                await work
        except BaseException:
            self.abort()
            raise

    async def _connect(self) -> None:
        client, settings = self._client, self._settings
        await client.connect()
        await self._hello()
        if settings.security == "starttls":
            if not client.supports_extension("starttls"):
                raise Permanent(f"{settings.host} does not offer STARTTLS")
            await client.starttls()
            await self._hello()
        self.extensions = Extensions.of(client.esmtp_extensions)

    async def _hello(self) -> None:
        local = self._client.get_transport_info("sockname")
        hello = self._settings.hello or self._name or literal(local[0] if local else "127.0.0.1")
        try:
            await self._client.ehlo(hostname=hello)
        except aiosmtplib.SMTPHeloError as error:
            if error.code < 500:
                raise
            await self._client.helo(hostname=hello)

    async def _login(self, credential: Credential) -> None:
        client, settings = self._client, self._settings
        peer = client.get_transport_info("peername")
        encrypted = client.get_transport_info("sslcontext") is not None
        if not encrypted and not settings.allow_clear and not ip_address(peer[0]).is_loopback:
            raise Permanent(f"the login would go to {settings.host} in clear text: say allow_clear = true, or use TLS")
        offered = [name.upper() for name in client.server_auth_methods]
        host, port = settings.host, settings.effective_port
        # Only one: three failures lock an account, so the others are not tried after it.
        mechanism = sasl.choose(offered, credential, encrypted=encrypted, host=host, port=port)
        if mechanism is None:
            spoken = sasl.names(credential)
            raise Permanent(f"{settings.host} offers no login that we speak ({spoken}): {' '.join(offered) or 'none'}")
        await self._authenticate(mechanism, credential.secret)
        sasl.require_complete(mechanism, settings.host)

    async def _authenticate(self, mechanism: sasl.Mechanism, secret: str) -> None:
        """Log in by SASL (RFC 4954 §4). Raises aiosmtplib.SMTPAuthenticationError."""
        said = mechanism.respond(b"")
        initial = base64.b64encode(said or b"")
        if len(initial) <= _LONGEST_INITIAL:
            reply = await self._client.execute_command(b"AUTH", mechanism.name.encode(), initial)
        else:
            reply = await self._client.execute_command(b"AUTH", mechanism.name.encode())
            if reply.code == aiosmtplib.SMTPStatus.auth_continue:
                reply = await self._client.execute_command(initial)
        while reply.code == aiosmtplib.SMTPStatus.auth_continue:
            if said is None:  # or it could go on for ever
                raise Unreachable(f"{self.endpoint.peer} goes on with a login that we have ended")
            said = mechanism.respond(_challenge(reply.message))
            reply = await self._client.execute_command(b"*" if said is None else base64.b64encode(said))
        if reply.code != aiosmtplib.SMTPStatus.auth_successful:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, sasl.redact(reply.message, secret, mechanism))

    @property
    def _protocol_transport(self) -> asyncio.BaseTransport:
        protocol = self._client.protocol
        if protocol is None or protocol.transport is None:
            raise Lost("the connection was lost")
        return protocol.transport

    @property
    def is_ready(self) -> bool:
        """Whether nothing is known to be wrong with the connection, and nothing came that was not asked for."""
        return self._wire is not None and self._wire.is_clean

    @property
    def is_worn(self) -> bool:
        """Whether the server wants no more messages over this connection."""
        most = self.extensions.most_messages
        return most is not None and self.messages >= most

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The encryption, if there is one."""
        return cast("ssl.SSLObject | None", self._client.get_transport_info("ssl_object"))

    def offer(self, extension: str) -> str | None:
        """Look up what the server said of an extension in its EHLO; None if it does not have it."""
        return self._client.esmtp_extensions.get(extension)

    def abort(self) -> None:
        """Close at once, in whatever state it is."""
        if self._wire is not None:
            self._wire.abort()
        self._client.close()

    def hang_up(self) -> None:
        """Say QUIT and close, without waiting for the answer."""
        if self._wire is not None:
            self._wire.write(b"QUIT\r\n")
            self._wire.close()
            return
        with contextlib.suppress(Lost):
            transport = cast("asyncio.WriteTransport", self._protocol_transport)
            transport.write(b"QUIT\r\n")
            transport.close()

    async def end(self) -> None:
        """Say QUIT and close; wait for that, but not for long."""
        self.hang_up()
        await self.ended()

    async def ended(self) -> None:
        """Wait until it is closed after `hang_up`, but not for long."""
        if self._wire is not None:
            try:
                async with asyncio.timeout(_FAREWELL):
                    await self._wire.closed()
            except TimeoutError:
                pass
            finally:
                self._wire.abort()

    # Mail

    def say(self, *lines: str) -> None:
        """Say these commands, in one go."""
        self._ready_wire.write("".join(f"{line}\r\n" for line in lines).encode())

    async def reply(self) -> Reply:
        """Return the answer to the first command that has none yet. Raises Lost."""
        return await self._ready_wire.reply(self._settings.timeout)

    async def ask(self, line: str) -> Reply:
        """Say one line and wait for the reply. Raises Lost."""
        self.say(line)
        return await self.reply()

    async def no_content(self) -> None:
        """Send the end of the data alone, where the server waits for a message that nobody is to get (RFC 2920 §3.1).

        Raises Lost.
        """
        self._ready_wire.write(b".\r\n")
        await self._ready_wire.reply(self._settings.final_timeout)

    async def content(self, content: Content, before_end: Begin | None = None) -> Reply:
        """Send what follows the 354 to DATA, and wait for the reply. Raises Lost, also where it cannot be read.

        `before_end` is as of an Envelope.
        """
        wire = self._ready_wire
        is_whole = await self._write(wire, content, before_end)
        try:
            reply = await wire.reply(self._settings.final_timeout if is_whole else self._settings.timeout)
        except Lost as lost:
            raise Lost(f"no answer came to the content of the message: {lost}", handed_over=is_whole) from lost
        if not is_whole and not reply.is_negative:
            raise Lost("the server answered before the end of the message")
        if not is_whole or reply.code == 421:
            self.abort()
        return reply

    async def _write(self, wire: Wire, content: Content, before_end: Begin | None) -> bool:
        """Write the content; False if a reply, or the end of the connection, came before its end."""
        stuffer = DotStuffer()
        if isinstance(content, BytesContent) and content.is_small:
            await _told(before_end)
            if wire.has_news:
                return False
            wire.write(stuffer.stuff(content.whole) + stuffer.end())
            return True
        pieces = aiter(content)
        while True:
            # The reply is looked for all the time: a server that has had enough says so before the end.
            if wire.has_news or not await wire.drain(self._settings.timeout):
                return False
            try:
                piece = await anext(pieces, None)
            except Exception as error:
                raise Lost(f"the content could not be read to its end: {error}", "4.3.0") from error
            if piece is None:
                await _told(before_end)
                if wire.has_news:  # reading the content may have taken a while
                    return False
                wire.write(stuffer.end())
                return True
            wire.write(stuffer.stuff(piece))
            await asyncio.sleep(0)  # what is always at hand, and a server that keeps up, would hold the loop

    @property
    def _ready_wire(self) -> Wire:
        if self._wire is None:
            raise Lost("the connection was lost")
        return self._wire


async def _told(before_end: Begin | None) -> None:
    if before_end is not None:
        try:
            await before_end()
        except Exception as error:
            raise Lost(f"the message was not sent to its end: {error}", "4.3.0") from error


def _challenge(message: str) -> bytes:
    """Decode what the server has said; nothing, where it is words."""
    try:
        return base64.b64decode(message.strip(), validate=True)
    except ValueError:
        return b""


def _context(settings: SmtpRelaySettings) -> ssl.SSLContext:
    shown = settings.certificate
    return client_context(settings.ca_file, *((shown.file, shown.key) if shown is not None else ()))


@contextlib.contextmanager
def _translated(peer: str) -> Iterator[None]:
    """Turn whatever fails while a connection is being opened into our own errors."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        words = " ".join(error.message.split())
        if not 200 <= error.code < 600:  # aiosmtplib's own, or no code of SMTP: what came is no reply
            raise Temporary(f"{peer} does not speak SMTP here: {words}") from error
        words = f"{error.code} {words}"
        if error.code < 500:
            raise Temporary(words) from error
        raise (Unauthorized if isinstance(error, aiosmtplib.SMTPAuthenticationError) else Permanent)(words) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        # aiosmtplib wraps the system's error, or that of TLS, in its own, which are OSErrors too; and these in others.
        cause: BaseException = error
        while isinstance(cause.__cause__, OSError):
            cause = cause.__cause__
        raise no_connection(peer, cause if isinstance(cause, OSError) else OSError(str(error))) from error
    except (UnicodeError, ValueError, Lost) as error:
        raise Unreachable(f"cannot connect to {peer}: {error}") from error
