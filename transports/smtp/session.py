"""One connection to a relay: opened, logged in, and used for one message after the other (RFC 5321, aiosmtplib)."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Coroutine, Iterator
from ipaddress import ip_address
from typing import Any, Self, cast

import aiosmtplib
from aiosmtplib.response import SMTPResponse

from transports._net import sasl
from transports._net.auth import Auth
from transports._net.tls import asking_for_tls, client_context, no_connection
from transports.errors import Permanent, Temporary, Unauthorized, Unreachable
from transports.smtp.chunks import dot_stuffed_chunks
from transports.smtp.hello import literal
from transports.smtp.settings import SmtpRelaySettings

PORTS = SmtpRelaySettings.ports


class Lost(Exception):
    """The connection ended: no answer came, or the last one (421). `handed_over`: the content was sent to its end."""

    def __init__(self, words: str, code: str = "4.4.2", *, handed_over: bool = False) -> None:
        super().__init__(words)
        self.code = code
        self.handed_over = handed_over


class Session:
    """A connection that is ready for a message: `messages` it was given, and whether one was left half said (RSET)."""

    def __init__(self, settings: SmtpRelaySettings, name: str | None, client: aiosmtplib.SMTP, peer: str) -> None:
        self.messages = 0
        self._peer = peer
        self._settings = settings
        self._name = name
        self._client = client
        self._writer: asyncio.StreamWriter | None = None
        self.rset_due = False

    @classmethod
    async def open(cls, settings: SmtpRelaySettings, name: str | None) -> Self:
        """Connect, encrypt, log in. Raises Unreachable, Temporary, Permanent or Unauthorized in the server's words."""
        session = await cls.connect(settings, name)
        await session.log_in()
        return session

    @classmethod
    async def connect(cls, settings: SmtpRelaySettings, name: str | None) -> Self:
        """Connect and encrypt, ready for the login. `name` is this machine's, for EHLO, unless the settings say one."""
        port = settings.port or PORTS[settings.security]
        context = None if settings.security == "none" else await asyncio.to_thread(client_context, settings.ca_file)
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=port,
            local_hostname=settings.hello or name or "localhost",  # or connect() would look it up; _hello() says it
            timeout=settings.timeout,
            use_tls=settings.security == "tls",
            start_tls=False,  # not left to connect(): what fails then is to be told in words
            tls_context=context,
        )
        session = cls(settings, name, client, f"{settings.host}:{port}")
        async with asking_for_tls(settings, port):
            await session._or_close(session._connect())
        return session

    async def log_in(self) -> None:
        """Log in, where the settings say how."""
        if self._settings.auth is not None:
            await self._or_close(self._login(self._settings.auth))

    async def _or_close(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to its end, or close the connection."""
        try:
            with _translated(self._peer):
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
        # Only a StreamWriter gives flow control by a public name; it lives as long as the connection does.
        transport = cast("asyncio.WriteTransport", client.transport)
        self._writer = asyncio.StreamWriter(transport, self._protocol, None, asyncio.get_running_loop())

    async def _hello(self) -> None:
        local = self._client.get_transport_info("sockname")
        hello = self._settings.hello or self._name or literal(local[0] if local else "127.0.0.1")
        try:
            await self._client.ehlo(hostname=hello)
        except aiosmtplib.SMTPHeloError as error:
            if error.code < 500:
                raise
            await self._client.helo(hostname=hello)

    async def _login(self, auth: Auth) -> None:
        client, settings = self._client, self._settings
        peer = client.get_transport_info("peername")
        encrypted = client.get_transport_info("sslcontext") is not None
        if not encrypted and not settings.allow_clear and not ip_address(peer[0]).is_loopback:
            raise Permanent(
                f"the password would go to {settings.host} in clear text: say allow_clear = true, or use TLS"
            )
        offered = client.server_auth_methods
        method = next((name for name in ("plain", "login") if name in offered), None)
        if method is None:
            raise Permanent(
                f"{settings.host} offers no login that we speak (PLAIN, LOGIN): {' '.join(offered) or 'none'}"
            )
        password = await asyncio.to_thread(auth.password.reveal)
        # Only this one: three failures lock an account, so the others are not tried after it.
        await self._authenticate((sasl.plain if method == "plain" else sasl.login)(auth.user, password))

    async def _authenticate(self, mechanism: sasl.Mechanism) -> None:
        """Log in, with an initial response (RFC 4954 §4). Raises aiosmtplib.SMTPAuthenticationError."""
        initial, *others = map(base64.b64encode, mechanism.responses)
        reply = await self._client.execute_command(b"AUTH", mechanism.name.encode(), initial)
        for response in others:
            if reply.code != aiosmtplib.SMTPStatus.auth_continue:
                break
            reply = await self._client.execute_command(response)
        if reply.code != aiosmtplib.SMTPStatus.auth_successful:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)

    @property
    def _protocol(self) -> aiosmtplib.protocol.SMTPProtocol:
        if self._client.protocol is None:
            raise Lost("the connection was lost")
        return self._client.protocol

    @property
    def alive(self) -> bool:
        """Whether nothing is known to be wrong with the connection."""
        return self._client.is_connected

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The encryption, if there is one."""
        return cast("ssl.SSLObject | None", self._client.get_transport_info("ssl_object"))

    def abort(self) -> None:
        """Close at once, in whatever state it is."""
        if self._client.transport is not None:
            cast("asyncio.WriteTransport", self._client.transport).abort()
        self._client.close()

    def hang_up(self) -> None:
        """Say QUIT and close, without waiting for the answer."""
        with contextlib.suppress(aiosmtplib.SMTPException, Lost):
            self._protocol.write(b"QUIT\r\n")
        self._client.close()

    async def ready(self) -> bool:
        """Make sure that no earlier message is half said; False if the connection turned out to be dead."""
        try:
            if self.rset_due:
                reply = await self.command("RSET")
                self.rset_due = reply.code != 250
        except Lost:
            return False
        return self.alive and not self.rset_due

    def offer(self, extension: str) -> str | None:
        """Look up what the server said of an extension in its EHLO; None if it does not have it."""
        return self._client.esmtp_extensions.get(extension)

    async def command(self, line: str) -> SMTPResponse:
        """Say one line and wait for the reply. Raises Lost."""
        try:
            return await self._client.execute_command(line.encode())
        except (aiosmtplib.SMTPException, OSError) as error:
            self.abort()
            raise Lost(f"the connection was lost: {_describe(error)}") from error

    async def content(self, content: bytes) -> SMTPResponse:
        """Send what follows the 354 to DATA, and wait for the reply. Raises Lost."""
        # The reply is awaited from the start: a server that has had enough says so before the end.
        reply = asyncio.create_task(self._protocol.read_response())
        try:
            handed_over = await self._write(content, reply)
            await asyncio.wait([reply], timeout=self._settings.final_timeout)
            if not reply.done() or reply.exception() is not None:
                failure = reply.exception() if reply.done() else None
                why = _describe(failure) if failure else f"waited {self._settings.final_timeout:g} seconds"
                raise Lost(f"no answer came to the content of the message: {why}", handed_over=handed_over)
            if not handed_over and reply.result().code < 400:
                raise Lost("the server answered before the end of the message")
            if not handed_over or reply.result().code == 421:
                self.abort()
            return reply.result()
        finally:
            if not reply.cancel() and not reply.cancelled():
                reply.exception()  # or asyncio would report it as never looked at

    async def _write(self, content: bytes, reply: asyncio.Task[SMTPResponse]) -> bool:
        """Write the content; False if a reply, or the end of the connection, came before its end."""
        assert self._writer is not None
        try:
            await asyncio.sleep(0)  # lets the task begin to listen before there is anything to reply to
            for chunk, last in dot_stuffed_chunks(content):
                if reply.done():
                    return False
                self._protocol.write(chunk)
                if not last:
                    async with asyncio.timeout(self._settings.timeout):
                        await self._writer.drain()
                    await asyncio.sleep(0)  # drain() does not yield while the peer keeps up
        except TimeoutError:
            if not reply.done():
                raise Lost(f"the server read nothing more for {self._settings.timeout:g} seconds") from None
            return False
        except (aiosmtplib.SMTPException, OSError, Lost):
            return False  # the connection has ended: so has the wait for the reply
        return True


def _describe(error: BaseException) -> str:
    # str() of aiosmtplib's errors may be a tuple with a code of its own.
    return getattr(error, "message", "") or str(error) or type(error).__name__


@contextlib.contextmanager
def _translated(peer: str) -> Iterator[None]:
    """Turn whatever fails while a connection is being opened into our own errors."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        words = " ".join(error.message.split())
        if error.code < 0:  # aiosmtplib's own: what came is no reply
            raise Temporary(f"{peer} does not speak SMTP here: {words}") from error
        words = f"{error.code} {words}"
        if error.code < 500:
            raise Temporary(words) from error
        raise (Unauthorized if isinstance(error, aiosmtplib.SMTPAuthenticationError) else Permanent)(words) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        # aiosmtplib wraps the system's error in its own, which is an OSError too.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise no_connection(peer, cause if isinstance(cause, OSError) else OSError(str(error))) from error
    except (UnicodeError, Lost) as error:
        raise Unreachable(f"cannot connect to {peer}: {error}") from error
