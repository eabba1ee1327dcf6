"""One POP3 connection, from connecting to QUIT; every foreign exception ends here.

RFC 1939, 2449, 2595, 3206, 5034.
"""

import asyncio
import poplib
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from transports._net import sasl
from transports._net.blocking import in_thread
from transports._net.credentials import Credential, Token, whom
from transports._net.tls import asking_for_tls, client_context, no_connection
from transports.base import After
from transports.errors import Permanent, Unauthorized, Unreachable
from transports.pop3.maildrop import Maildrop, look
from transports.pop3.reply import Refused, as_refusal
from transports.pop3.settings import Pop3Settings
from transports.pop3.wire import Wire

PORTS = Pop3Settings.ports

FOREIGN = (OSError, EOFError, poplib.error_proto, ValueError, Refused)
"""What poplib, the socket and TLS raise, and the server's refusals."""

Result = TypeVar("Result")

_UNSAYABLE = re.compile(r"[\0\r\n]")  # in a user or a password


class Silent(Unreachable):
    """The server is connected and does not answer."""


class Connection:
    """One connection, and so one session.

    `maildrop` is what lay there at the login, once it was `seen`. The connection is `stale` once it was listed: what
    has come since is seen only over another one.
    """

    def __init__(self, settings: Pop3Settings, ready: socket.socket) -> None:
        self._settings = settings
        self.peer = _peer(settings)
        # Shutting this one down ends whatever a thread waits for, TLS or not.
        self._handle = ready.dup()
        self._socket = ready
        self._wire: Wire | None = None
        self.maildrop = Maildrop({}, {})
        self.seen = self.stale = False

    @property
    def lost(self) -> bool:
        """Whether the connection is of no more use."""
        return self._handle.fileno() == -1

    @property
    def capabilities(self) -> Mapping[str, Sequence[str]]:
        """What the server can do; nothing if it does not say."""
        return self._wire.capabilities if self._wire else {}

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The encryption, if there is any."""
        return self._socket if isinstance(self._socket, ssl.SSLSocket) else None

    async def begin(self) -> None:
        """Hear the greeting, encrypt, and ask for the capabilities."""
        context = None
        if self._settings.security != "none":
            # Reading the authorities is work for the processor and the disk.
            context = await asyncio.to_thread(client_context, self._settings.ca_file)
        try:
            async with asyncio.timeout(self._settings.timeout):
                await in_thread(lambda: self._greet(context), self.stop)
        except OSError as error:
            raise no_connection(self.peer, error) from error
        except FOREIGN as error:
            if (answer := as_refusal(error)) is None:
                raise Unreachable(f"cannot connect to {self.peer}: {_reason(error)}") from None
            raise answer.error(f"{self.peer} refuses the connection", self.capabilities) from error

    async def log_in(self, credential: Credential) -> None:
        """Log in, by SASL where it is offered. Raises Unauthorized, Temporary or Permanent."""
        offered, settings = self.capabilities, self._settings
        mechanisms = [name for name in offered.get("SASL", ()) if name != "LOGIN"]  # USER and PASS do the same
        encrypted = settings.security != "none"
        host, port = settings.host, settings.effective_port
        mechanism = sasl.choose(mechanisms, credential, encrypted=encrypted, host=host, port=port)
        if mechanism is None:
            if isinstance(credential, Token):
                raise Permanent(f"{self.peer} takes no access tokens: it offers neither SASL XOAUTH2 nor OAUTHBEARER")
            if _UNSAYABLE.search(credential.user + credential.secret):
                raise Permanent("user and password cannot hold a line break or NUL")
            if offered and "USER" not in offered:
                raise Permanent(f'{self.peer} accepts no password in clear: security = "starttls" or "tls" is needed')

        def enter(wire: Wire) -> None:
            if mechanism is not None:  # it carries any character
                wire.authenticate(mechanism)
            else:
                wire.user(credential.user)
                wire.pass_(credential.secret)

        try:
            async with asyncio.timeout(self._settings.timeout):
                refused = f"{self.peer} refuses the login of {whom(credential)}"
                await self.run(enter, refused, Unauthorized, secret=credential.secret)
        except TimeoutError:
            raise Unreachable(f"{self.peer} did not answer the login in time") from None
        if mechanism is not None:
            sasl.require_complete(mechanism, self.peer)

    async def look(self, mailbox: str, after: After) -> None:
        """See what lies in the maildrop. Raises Permanent where new mail cannot be told from what was left there."""
        # What is deleted at once need not be known again in later sessions.
        deletes = after.action == "delete" and not after.days
        refused = f"{self.peer} does not list the mailbox {mailbox}"
        self.maildrop = await self.run(lambda wire: look(wire, without_uidl=deletes), refused)
        self.seen = True

    async def run(
        self,
        work: Callable[[Wire], Result],
        refused: str = "",
        otherwise: type[Permanent] = Permanent,
        secret: str = "",
    ) -> Result:
        """Do something with the connection, in a thread. `refused` are the words for it if the server will not."""
        wire = self._wire
        if wire is None or self.lost:
            raise Unreachable(f"the connection to {self.peer} is lost")
        try:
            return await in_thread(lambda: work(wire), self.stop)
        except FOREIGN as error:
            if (answer := as_refusal(error)) is not None:
                told = refused or f"{self.peer} refuses"
                raise answer.without(secret).error(told, self.capabilities, otherwise) from None
            self.close()
            lost = Silent if isinstance(error, TimeoutError) else Unreachable
            raise lost(f"the connection to {self.peer} was lost: {_reason(error)}") from None
        except BaseException:
            self.close()
            raise

    async def quit(self) -> None:
        """End the session: only now is deleted what was to be (RFC 1939 §6)."""
        try:
            await self.run(lambda wire: wire.do("QUIT"), f"{self.peer} does not delete")
        finally:
            self.close()

    def stop(self) -> None:
        """End what is under way in a thread."""
        with suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection without QUIT: nothing is deleted."""
        self.stop()
        self._handle.close()
        if self._wire is not None:
            self._wire.close()
        self._socket.close()

    def _greet(self, context: ssl.SSLContext | None) -> None:
        settings = self._settings
        self._socket.settimeout(settings.timeout)
        if settings.security == "tls" and context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=settings.host)
        self._wire = wire = Wire(self._socket, settings.host)
        wire.capa()
        if settings.security == "starttls":
            if "STLS" not in wire.capabilities:
                raise Permanent(f'{self.peer} does not offer STARTTLS: is port or security ("tls") right?')
            wire.stls(context)
            self._socket = wire.sock
            # What was said in clear is not believed (RFC 2595 §4).
            wire.capa()
        if "UTF8" in wire.capabilities:
            # Without it messages with UTF-8 headers come changed, or not at all (RFC 6856 §2).
            wire.utf8()


async def connect(settings: Pop3Settings) -> Connection:
    """Return a connection that is ready for the login. Raises Unreachable, Temporary or Permanent."""
    connection = Connection(settings, await _connect(settings))
    try:
        async with asking_for_tls(settings, settings.port or PORTS[settings.security]):
            await connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect(settings: Pop3Settings) -> socket.socket:
    loop = asyncio.get_running_loop()
    port = settings.effective_port
    try:
        async with asyncio.timeout(settings.timeout):
            error: OSError | None = None
            for family, kind, protocol, _, address in await loop.getaddrinfo(
                settings.host, port, type=socket.SOCK_STREAM
            ):
                ready = socket.socket(family, kind, protocol)
                try:
                    ready.setblocking(False)
                    await loop.sock_connect(ready, address)
                except OSError as refused:
                    ready.close()
                    error = refused
                except BaseException:
                    ready.close()
                    raise
                else:
                    return ready
            raise error or OSError("it has no address")
    except UnicodeError:
        raise Permanent(f"{settings.host!r} is no name of a server") from None
    except OSError as error:
        raise no_connection(_peer(settings), error) from error


def _peer(settings: Pop3Settings) -> str:
    return f"{settings.host}:{settings.effective_port}"


def _reason(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str(words)) if words:
            return words
        case poplib.error_proto(args=("-ERR EOF",)):
            return "the server ended it"
    return str(error) or type(error).__name__
