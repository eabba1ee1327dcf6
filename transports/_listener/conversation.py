"""One connection of a listener: what a mail server says, and what we answer (RFC 5321, aiosmtpd)."""

import asyncio
import logging
import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import cast
from uuid import uuid4

from aiosmtpd.smtp import SMTP, Envelope, TLSSetupException
from aiosmtpd.smtp import Session as SmtpSession

from transports._listener.body import TOO_MUCH, Body
from transports._listener.limits import Budget, Limits, Seldom
from transports.base import Accept, Acceptance, Admit, Place, Received
from transports.errors import TransportError

_log = logging.getLogger(__name__)
# aiosmtpd logs every command at INFO: whose mail we are given, and ignore, is nobody's business.
logging.getLogger("mail.log").setLevel(logging.WARNING)

_NULL = "<>"
_PATH = re.compile(r'<(?:@[^<>:\s]+:)?((?:"(?:[^"\\]|\\.)*")?[^\s<>"]*)>\s*+(.*)')
_BAD = ("500", "501", "502", "503", "504", "530", "555")
_COMMAND = 2048  # bytes of the longest command: RFC 5321 §4.5.3.1 and its extensions, and some more
_CHUNK = 65_536

IDENT = "CRM email router"
NOT_A_CLIENT = "Your network is not among this listener's clients"
TOO_MANY = "Too many connections, please come back later"
"""What we say first, and to whom we do not let in."""

MAKES_ROOM = 5.0
"""Seconds without a message, or `PROGRESS` of one, after which a connection makes room for another if all are taken."""

PROGRESS = 65_536
"""Bytes of a message that count as a sign of life: a client that drips has no longer than a silent one."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections of a listener share while it serves."""

    accept: Accept
    admit: Admit
    limits: Limits
    budget: Budget
    hostname: str
    conversations: "set[Conversation]"
    turned_away: Seldom


class Conversation(SMTP):
    """One connection. What SMTP and LMTP do not share is the answer to a message, and the greeting."""

    command_size_limit = _COMMAND
    line_length_limit = _CHUNK  # of what is read at once; the lines of a message may be as long as they like
    acceptance: asyncio.Future[None] | None = None
    """Set while a message waits to be accepted."""
    peer = ""
    """The client's IP address; empty at a Unix socket."""
    useful_at = 0.0
    """When it began, or a message or some of it last came, by the loop's clock."""

    def __init__(self, service: Service) -> None:
        limits = service.limits
        # aiosmtpd's own are shared by all connections, and grow with each EHLO.
        self.command_size_limits = defaultdict(lambda: _COMMAND)
        self._service = service
        self._bad_commands = 0
        self._progress = 0
        self._busy = False
        self._time_is_up = False
        self._session_end: asyncio.TimerHandle | None = None
        super().__init__(
            _Handler(service),
            data_size_limit=limits.max_size,
            enable_SMTPUTF8=True,
            hostname=service.hostname,
            ident=IDENT,
            tls_context=limits.context,
            timeout=limits.timeout,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            loop=asyncio.get_running_loop(),
        )

    @staticmethod
    @abstractmethod
    def reply(answers: Sequence[Acceptance]) -> str:
        """Make the protocol's reply to a message out of the answers for its recipients."""

    # --- The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.session is not None:  # after STARTTLS, for the encrypted transport
            super().connection_made(transport)
            return
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else ""
        if refusal := self._refusal():
            writer = cast("asyncio.WriteTransport", transport)
            writer.write(f"{refusal}\r\n".encode())
            writer.close()
            return
        super().connection_made(transport)
        self.useful_at = self.loop.time()
        self._service.conversations.add(self)
        self._session_end = self.loop.call_later(self._service.limits.max_session, self._end_session)

    def connection_lost(self, error: Exception | None) -> None:
        self._service.conversations.discard(self)
        if self._session_end is not None:
            self._session_end.cancel()
        if self.session is not None:
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        # aiosmtpd counts its timeout from the last command, so that a long message over a slow line would run into it.
        self._progress += len(data)
        if self._progress >= PROGRESS:
            self._reset_timeout()
            if self._busy:
                self.useful_at = self.loop.time()
        super().data_received(data)

    def goodbye(self, words: str) -> None:
        """Say 421 with these words, and close."""
        if self.transport is None or self.transport.is_closing():
            return
        self._writer.write(f"421 {words}\r\n".encode())
        self.transport.close()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # what it has been told and not read yet is no longer looked at

    def abort(self) -> None:
        """Close at once; a message that waits to be accepted gets no answer."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()

    def _refusal(self) -> str | None:
        limits, conversations = self._service.limits, self._service.conversations
        if self.peer and not any(ip_address(self.peer) in network for network in limits.clients):
            return f"554 5.7.1 {NOT_A_CLIENT}"
        of_client = sum(conversation.peer == self.peer for conversation in conversations) if self.peer else 0
        if of_client < limits.max_client_connections and (
            len(conversations) < limits.max_connections or self._is_made_room()
        ):
            return None
        if count := self._service.turned_away.count(self.loop.time()):
            words = "connections turned away since the last time: %d; now %d are open, %d of them this client's"
            _log.warning(words, count, len(conversations), of_client)
        return f"421 4.7.0 {TOO_MANY}"

    def _is_made_room(self) -> bool:
        """End the connection that is of no use for the longest, so that none keep out the others by being there."""
        conversations = self._service.conversations
        idle = (conversation for conversation in conversations if conversation.acceptance is None)
        oldest = min(idle, key=lambda conversation: conversation.useful_at, default=None)
        if oldest is None or self.loop.time() - oldest.useful_at < MAKES_ROOM:
            return False
        conversations.discard(oldest)
        oldest.end("4.7.0 Others wait for this connection")
        return True

    def _reset_timeout(self, duration: float | None = None) -> None:
        self._progress = 0
        super()._reset_timeout(duration)

    def _timeout_cb(self) -> None:
        if self.acceptance is not None:  # it is we who are slow
            self._reset_timeout()
        else:
            self.end("4.4.2 Nothing came for too long")

    def end(self, words: str) -> None:
        """Say goodbye to a client that may not read."""
        writer = cast("asyncio.WriteTransport", self.transport)
        if writer.get_write_buffer_size():
            writer.abort()  # who does not read will not hear why
        else:
            self.goodbye(words)

    def _end_session(self) -> None:
        self._time_is_up = True
        if not self._busy:
            self.goodbye("4.4.2 This connection has been open for too long")

    # --- Commands

    async def push(self, status: str | bytes) -> None:
        """Send a reply, and count those to bad commands."""
        # aiosmtpd repeats what it does not understand, and fails at bytes that are no UTF-8.
        answer = status.encode(errors="replace") if isinstance(status, str) else status
        await asyncio.sleep(0)  # whoever sends thousands of commands at once has one answered in turn with all others
        await super().push(answer)
        if str(status)[:3] in _BAD:
            self._bad_commands += 1
            if self._bad_commands >= self._service.limits.max_bad_commands:
                self.goodbye("4.7.0 Too many bad commands")

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        # RFC 5321 §4.1.2. aiosmtpd's own reads the path as a message header: it drops what looks like a comment there,
        # and fails on "<". The null sender has to be true for aiosmtpd.
        match = _PATH.fullmatch(arg.strip())
        return (match[1] or _NULL, match[2]) if match else (None, None)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        # aiosmtpd looks at the last SIZE only, and fails at digits that are not ASCII (RFC 1870 §4).
        sizes = [option.removeprefix("SIZE=") for option in params if option.startswith("SIZE=")]
        if len(sizes) > 1 or not all(size.isascii() and size.isdigit() for size in sizes):
            return None
        return super()._getparams(params)

    async def smtp_AUTH(self, _arg: str) -> None:  # noqa: N802  # aiosmtpd's name
        # Who may hand over mail is told by networks and permissions, so there is no login that could fail.
        await self.push("502 5.5.1 There is no login here")

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802  # aiosmtpd's name
        envelope = self.envelope
        assert envelope is not None
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif not envelope.rcpt_tos:
            # No bad command where commands are pipelined and all recipients were refused (RFC 2033 §4.2).
            await super().push("503 5.5.1 No valid recipients")
        else:
            self._busy = True
            self.useful_at = self.loop.time()
            try:
                await self.push("354 End data with <CR><LF>.<CR><LF>")
                await self.push(self.reply(await self._take(envelope)))
            finally:
                self._busy = False
                self.useful_at = self.loop.time()
            if self._time_is_up:
                self._end_session()

    async def _take(self, envelope: Envelope) -> Sequence[Acceptance]:
        """Read a message, and have it accepted; one answer per recipient."""
        limits, budget = self._service.limits, self._service.budget
        body = Body(limits.max_size, budget)
        try:
            content = await body.read(self._reader)
            if isinstance(content, Acceptance):
                return [content] * len(envelope.rcpt_tos)
            with self._waiting():
                return await self._accept(envelope, content)
        finally:
            body.drop()
            self.envelope = Envelope()

    async def _accept(self, envelope: Envelope, content: bytes) -> Sequence[Acceptance]:
        received = Received(
            place=Place("", uuid4().hex),
            content=content,
            received_at=datetime.now(UTC),
            sender="" if envelope.mail_from == _NULL else envelope.mail_from,
            recipients=tuple(envelope.rcpt_tos),
        )
        try:
            answers = await self._service.accept(received)
            assert len(answers) == len(received.recipients), "one answer for each recipient"
        except Exception as error:  # noqa: BLE001  # whatever it is, the mail server must hear that it keeps the mail
            return [_later(error)] * len(received.recipients)
        self._bad_commands = 0
        return answers

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.acceptance = self.loop.create_future()
        try:
            yield
        finally:
            self.acceptance.set_result(None)
            self.acceptance = None


class _Handler:
    """What is said to the other commands; aiosmtpd finds the methods by their names."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def handle_EHLO(  # noqa: N802  # aiosmtpd's name
        self, _conversation: Conversation, session: SmtpSession, _envelope: Envelope, hostname: str, offers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        name, *rest = [offer for offer in offers if not offer.startswith("250-AUTH")]
        return [name, "250-PIPELINING", *rest]

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, _conversation: Conversation, session: SmtpSession, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        # Not before, as aiosmtpd would: it refuses LHLO, too, which tells that there is STARTTLS.
        if self._service.limits.require_tls and session.ssl is None:
            return "530 5.7.0 Must issue a STARTTLS command first"
        if not sender.isprintable():
            return "553 5.1.7 This is no address"
        announced = [int(option.removeprefix("SIZE=")) for option in options if option.startswith("SIZE=")]
        if not self._service.budget.has(sum(announced)):
            return one_line(TOO_MUCH)
        envelope.mail_from = sender
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _conversation: Conversation, _session: SmtpSession, envelope: Envelope, recipient: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= self._service.limits.max_recipients:
            return "452 4.5.3 Too many recipients"
        if not recipient.isprintable():
            return "553 5.1.3 This is no address"
        answer = await self._service.admit(recipient)
        if answer.accepted:
            envelope.rcpt_tos.append(recipient)
            envelope.rcpt_options.extend(options)
        return one_line(answer)

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, TLSSetupException):
            _log.info("a client failed to set up TLS: %s", error.__cause__)
            return "454 4.7.0 TLS failed"
        return one_line(_later(error))


def one_line(answer: Acceptance) -> str:
    """Write one line of a reply."""
    return f"{answer.code} {' '.join(answer.text.split())}"


def _later(error: Exception) -> Acceptance:
    """Log what is wrong, which is none of the mail server's business, and answer that it is to try again."""
    if isinstance(error, TransportError):
        _log.warning("a message or command is left to be tried again: %s", error)
        return Acceptance(451, "4.3.0 Please try again later")
    _log.error("a message or command could not be answered", exc_info=error)
    return Acceptance(451, "4.3.0 Something went wrong here, please try again later")
