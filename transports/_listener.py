"""An open door for mail: what SMTP and LMTP listeners have in common (RFC 5321, aiosmtpd)."""

import asyncio
import errno
import logging
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Self, cast
from uuid import uuid4

from aiosmtpd.smtp import SMTP, Envelope, TLSSetupException
from aiosmtpd.smtp import Session as Conversation

from transports.base import Accept, Acceptance, Knows, Permanent, Place, Received, Temporary, TransportError

_log = logging.getLogger(__name__)
# aiosmtpd logs every command at INFO: whose mail we are given, and ignore, is nobody's business.
logging.getLogger("mail.log").setLevel(logging.WARNING)

_NULL = "<>"
_PATH = re.compile(r'<(?:@[^<>:\s]+:)?((?:"(?:[^"\\]|\\.)*")?[^\s<>"]*)>\s*(.*)')

IDENT = "CRM email router"
NOT_A_CLIENT = "Your network is not among this listener's clients"
"""What we say first, and to whom we do not let in."""

GRACE = 5.0
"""Seconds that messages get which wait to be accepted when we stop."""

Answer = Callable[[Sequence[Acceptance]], str]
"""Makes the protocol's reply to a message out of the answers for its recipients."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a listener stands, and whom it lets in. `max_size` in bytes; times in seconds."""

    host: str
    port: int
    clients: tuple[IPv4Network | IPv6Network, ...]
    max_size: int
    max_recipients: int
    timeout: float
    context: ssl.SSLContext | None

    @property
    def name(self) -> str:
        """The address as it is written in a profile."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Split "127.0.0.1:2525" or "[::1]:25" into address and port; port 0 is any free one. Raises ValueError."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = (IPv6Address if bracketed else IPv4Address)(host.removeprefix("[").removesuffix("]"))
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        address, number = None, -1
    if address is None or not 0 <= number < 65536:
        raise ValueError(f'{text!r} is no address to listen at: write "127.0.0.1:2525" or "[::1]:2525"')
    return str(address), number


def server_context(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    """Make the context that STARTTLS is offered with. Raises Permanent if the files cannot be read or do not match."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except OSError as error:
        raise Permanent(f"the certificate {cert_file} cannot be used: {error.strerror or error}") from None
    return context


class MailListener:
    """Takes mail at a door: bound when it is entered, open while it serves."""

    def __init__(self, door: Door, answer: Answer) -> None:
        self._door = door
        self._answer = answer
        self._socket: socket.socket | None = None
        self._talks: set[_Talk] = set()
        self.port = door.port
        """The port; once it is bound, never 0."""

    async def __aenter__(self) -> Self:
        door = self._door
        family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
        try:
            self._socket = socket.create_server((door.host, door.port), family=family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Temporary(f"cannot listen at {door.name}: another program listens there") from error
            if error.errno == errno.EACCES:
                raise Permanent(f"cannot listen at {door.name}: this port needs a privilege that we lack") from error
            raise Temporary(f"cannot listen at {door.name}: {error.strerror or error}") from error
        self.port = self._socket.getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._socket is not None:
            self._socket.close()
        for talk in list(self._talks):
            talk.abort()

    async def serve(self, accept: Accept, knows: Knows) -> None:
        """Serve until cancelled (see `Listener.serve`)."""
        assert self._socket is not None, "the listener is not open"
        loop = asyncio.get_running_loop()
        hostname = await asyncio.to_thread(socket.getfqdn)
        handler = _Handler(self._door, accept, knows, self._answer)
        server = await loop.create_server(lambda: _Talk(handler, self._door, self._talks, hostname), sock=self._socket)
        try:
            await loop.create_future()
        finally:
            server.close()
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """Let messages finish that wait to be accepted, for a while; whoever gets no answer will deliver again."""
        for talk in list(self._talks):
            if talk.acceptance is None:
                talk.goodbye()
        try:
            if waiting := [talk.acceptance for talk in self._talks if talk.acceptance is not None]:
                await asyncio.wait(waiting, timeout=GRACE)
        finally:
            for talk in list(self._talks):
                if talk.acceptance is None:
                    talk.goodbye()
                else:
                    talk.abort()


class _Talk(SMTP):
    """One connection."""

    def __init__(self, handler: "_Handler", door: Door, talks: "set[_Talk]", hostname: str) -> None:
        # A line may be as long as a message: real mail has such lines, and who may connect is known.
        self.line_length_limit = door.max_size
        self.acceptance: asyncio.Future[None] | None = None
        self._door = door
        self._talks = talks
        super().__init__(
            handler,
            data_size_limit=door.max_size,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident=IDENT,
            tls_context=door.context,
            timeout=door.timeout,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Called a second time after STARTTLS, for the encrypted transport.
        if self.session is None and not self._may_enter(transport):
            door = cast("asyncio.WriteTransport", transport)
            door.write(f"554 5.7.1 {NOT_A_CLIENT}\r\n".encode())
            door.close()
            return
        super().connection_made(transport)
        self._talks.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._talks.discard(self)
        if self.session is not None:
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        # aiosmtpd counts its timeout from the last command, so that a long message over a slow line would run into it.
        self._reset_timeout()
        super().data_received(data)

    def _may_enter(self, transport: asyncio.BaseTransport) -> bool:
        peer = ip_address(transport.get_extra_info("peername")[0])
        return any(peer in network for network in self._door.clients)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        # RFC 5321 §4.1.2. aiosmtpd's own reads the path as a message header: it drops what looks like a comment there,
        # and fails on "<". The null sender has to be true for aiosmtpd.
        match = _PATH.fullmatch(arg.strip())
        return (match[1] or _NULL, match[2]) if match else (None, None)

    def goodbye(self) -> None:
        """Say that we are going, and close."""
        if self.transport is not None and not self.transport.is_closing():
            self._writer.write(b"421 4.3.2 Going down, please come back later\r\n")
            self.transport.close()

    def abort(self) -> None:
        """Close at once; a message that waits to be accepted gets no answer."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()


class _Handler:
    """What is said to each command; aiosmtpd finds the methods by their names."""

    def __init__(self, door: Door, accept: Accept, knows: Knows, answer: Answer) -> None:
        self._door = door
        self._accept = accept
        self._knows = knows
        self._answer = answer

    async def handle_EHLO(  # noqa: N802  # aiosmtpd's name
        self, _talk: _Talk, conversation: Conversation, _envelope: Envelope, hostname: str, offers: list[str]
    ) -> list[str]:
        conversation.host_name = hostname
        return [offer for offer in offers if not offer.startswith("250-AUTH")]

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, _talk: _Talk, _conversation: Conversation, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        if not sender.isprintable():
            return "553 5.1.7 This is no address"
        envelope.mail_from = sender
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _talk: _Talk, _conversation: Conversation, envelope: Envelope, recipient: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= self._door.max_recipients:
            return "452 4.5.3 Too many recipients"
        if not recipient.isprintable():
            return "553 5.1.3 This is no address"
        if not await self._knows(recipient):
            return "550 5.1.1 Nobody here has this address"
        envelope.rcpt_tos.append(recipient)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, talk: _Talk, _conversation: Conversation, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        received = Received(
            place=Place("", uuid4().hex),
            content=cast("bytes", envelope.content),
            received_at=datetime.now(UTC),
            sender="" if envelope.mail_from == _NULL else envelope.mail_from,
            recipients=tuple(envelope.rcpt_tos),
        )
        talk.acceptance = asyncio.get_running_loop().create_future()
        try:
            answers = await self._accept(received)
            if len(answers) != len(received.recipients):
                raise RuntimeError(f"{len(answers)} answers for {len(received.recipients)} recipients")
            return self._answer(answers)
        finally:
            talk.acceptance.set_result(None)
            talk.acceptance = None

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, TLSSetupException):
            _log.info("a client failed to set up TLS: %s", error.__cause__)
            return "454 4.7.0 TLS failed"
        if isinstance(error, TransportError):
            _log.warning("a message or command is left to be tried again: %s", error)
            return "451 4.3.0 Please try again later"
        _log.error("a message or command could not be answered", exc_info=error)
        return "451 4.3.0 Something went wrong here, please try again later"
