"""One connection to an IMAP server: commands, one at a time, each with a deadline; and IDLE.

It is aioimaplib's protocol with another receiving half: responses are cut iteratively (`decode.Splitter`), so that
neither their number nor their content matters, and what nobody asked for is noted (`State`), never dropped.

A connection that ends (lost, BYE, silence, bytes that are no IMAP, a canceled command) stays so: what is pending ends
with it, and every later command raises Unreachable.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from aioimaplib import CONNECTED, LOGOUT, SELECTED, AioImapException, IMAP4ClientProtocol

from transports._net.tls_link import TlsLink
from transports.errors import Permanent, TransportError, Unreachable
from transports.imap.decode import LITERAL_LIMIT, MalformedError, Response, Splitter
from transports.imap.encode import folder_name
from transports.imap.exchange import Exchange, Respond
from transports.imap.reply import Reply, backoff
from transports.imap.state import State

FOREIGN = (OSError, EOFError, RuntimeError, AioImapException, asyncio.InvalidStateError, asyncio.LimitOverrunError)
"""What the socket, TLS, asyncio, uvloop and aioimaplib raise where a connection has failed."""

REPLY_LIMIT = LITERAL_LIMIT + (64 << 20)
"""Bytes of all responses to one command."""


class ImapConnection(IMAP4ClientProtocol):
    """One connection. `peer` names the server in errors; `timeout` is how many seconds it may be silent.

    STATUS responses go to `on_status`, since they come unasked too (RFC 5465); it says whether there may be something
    new. `silent` says of a connection that has ended that no answer came in time.
    """

    def __init__(self, peer: str, timeout: float, splitter: Splitter | None = None) -> None:
        self.known = State()
        self._loop = asyncio.get_running_loop()
        super().__init__(self._loop)
        self.peer = peer
        self.timeout = timeout
        self.on_status: Callable[[Response], bool] | None = None
        self.silent = False
        self._splitter = splitter or Splitter()
        self._link: asyncio.Transport | None = None
        self._exclusive = asyncio.Lock()
        self._wanted = 0
        self._exchange: Exchange | None = None
        self._received_bytes = 0
        self._deadline: asyncio.Timeout | None = None
        self._deaf = False
        self._failure: str | None = None
        self._greeted = asyncio.Event()
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()

    @property
    def state(self) -> str:
        """The state of the connection (RFC 3501 §3). aioimaplib writes it, too."""
        return self.known.stage

    @state.setter
    def state(self, state: str) -> None:
        self.known.stage = state

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The encryption, if there is one."""
        return self._link.get_extra_info("ssl_object") if self._link is not None else None

    # Commands

    async def greeting(self) -> None:
        """Wait for the server's first words (RFC 3501 §7.1)."""
        await self._wait_for_answer(self._greeted)

    async def run(self, name: str, *arguments: str, uid: bool = False, respond: Respond | None = None) -> Reply:
        """Give one command and return the reply, whatever it is; `respond` answers the challenges of AUTHENTICATE.

        Raises Unreachable without a connection, Permanent for arguments that no command line can hold.
        """
        exchange = self._exchange_for(name, *arguments, uid=uid, respond=respond)
        with self.wanted():
            await self._exclusive.acquire()
        try:
            with self._or_close(exchange):
                self._send(exchange)
                await self._wait_for_answer(exchange)
            return exchange.reply
        finally:
            self._exclusive.release()

    async def run_append(self, arguments: Sequence[str], content: AsyncIterable[bytes], *, at_once: bool) -> Reply:
        """APPEND a content, whose size the last argument tells, and return the reply, whatever it is.

        `at_once`: the server need not ask for it. What `content` raises goes on, and the connection is closed.
        """
        exchange = self._exchange_for("APPEND", *arguments)
        with self.wanted():
            await self._exclusive.acquire()
        try:
            with self._or_close(exchange):
                self._idle_event.clear()
                self._send(exchange)
                if not at_once:
                    await self._wait_for_answer(self._idle_event)
                if self._exchange is exchange:
                    await self._write_all(content)
                    await self._wait_for_answer(exchange)
                self._require_connection()
            return exchange.reply
        finally:
            self._exclusive.release()

    async def _write_all(self, content: AsyncIterable[bytes]) -> None:
        """Write a literal and the end of its command, no faster than the server takes it."""
        try:
            async for piece in content:
                self._require_connection()
                self._link_now.write(piece)
                if not self._writable.is_set():
                    await self._wait_for_answer(self._writable)
        except BaseException:
            # What follows would be taken for the rest of the message.
            self.abort("a message that was not written to its end")
            raise
        self._require_connection()
        self._link_now.write(b"\r\n")

    def _exchange_for(self, name: str, *arguments: str, uid: bool = False, respond: Respond | None = None) -> Exchange:
        try:
            exchange = Exchange(name, self.new_tag(), *arguments, uid=uid, respond=respond)
            exchange.line.encode()
        except UnicodeEncodeError:
            raise Permanent(f"half a character (a lone surrogate) cannot be said to {self.peer}") from None
        except ValueError as error:
            raise Permanent(str(error)) from None
        return exchange

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """While somebody waits for the connection, nobody idles on it."""
        self._wanted += 1
        self._wake.set()
        try:
            yield
        finally:
            self._wanted -= 1

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for the connection."""
        return self._wanted > 0

    async def idle_for(self, seconds: float) -> None:
        """IDLE (RFC 2177) until there is news, the connection is wanted, or the seconds are over."""
        async with self._exclusive:
            self._wake.clear()
            if self.known.news or self._wanted:
                return
            exchange = Exchange("IDLE", self.new_tag())
            self._idle_event.clear()
            with self._or_close(exchange):
                self._send(exchange)
                await self._wait_for_answer(self._idle_event)
                await self._wait_for_news(seconds)
                if self._exchange is exchange:
                    self.send("DONE")
                    await self._wait_for_answer(exchange)
                self._require_connection()
            if not exchange.reply.ok:
                # It is offered and refused: do without.
                self.known.capabilities.discard("IDLE")

    async def rest(self, seconds: float) -> None:
        """Say nothing until there is news, the connection is wanted, or the seconds are over."""
        self._require_connection()
        self._wake.clear()
        if not self.known.news and not self._wanted:
            await self._wait_for_news(seconds)
        self._require_connection()

    def named(self, folder: str) -> str:
        """Return the folder's name as this connection says it."""
        return folder_name(folder, utf8=self.known.utf8)

    async def select(self, mailbox: str = "INBOX", *parameters: str, read_only: bool = False) -> Reply:
        """Select a folder, its name as it goes into the command; or only look at it, which changes nothing."""
        self.known.leave_folder()
        reply = await self.run("EXAMINE" if read_only else "SELECT", mailbox, *parameters)
        if reply.ok:
            self.known.stage = SELECTED
        return reply

    async def capability(self) -> None:
        """Ask what the server can do, unless it has said so since `capabilities` was last cleared."""
        if not self.known.capabilities:
            (await self.run("CAPABILITY")).require(f"{self.peer} does not say what it can do")

    async def starttls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS (RFC 3501 §6.2.1). What came in clear with or after the answer is thrown away, unread."""
        (await self.run("STARTTLS")).require(f"{self.peer} refuses STARTTLS")
        self.known.forget_offers()
        network = self._link
        assert network is not None
        link = TlsLink(context, host, self, self._use_tls)
        network.set_protocol(link)
        link.connection_made(network)
        await link.handshake_done()
        self._require_connection()

    async def close(self) -> None:
        """Say goodbye for at most two seconds, and close."""
        if self._failure is None:
            with suppress(TransportError, TimeoutError):
                async with asyncio.timeout(2):
                    await self.run("LOGOUT")
        self.abort("closed")
        await self._closed.wait()

    def abort(self, reason: str) -> None:
        """Close the connection now. What is pending raises Unreachable with the first reason there was."""
        if self._failure is not None:
            return
        self._failure = reason
        self.known.stage = LOGOUT
        self._splitter.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close(b"", "BYE")
        for event in (self._greeted, self._idle_event, self._wake, self._writable):
            event.set()
        if self._link is not None:
            self._link.abort()
        else:
            self._closed.set()

    def _send(self, exchange: Exchange) -> None:
        self._require_connection()
        self._received_bytes = 0
        self._exchange = exchange
        self.send(exchange.line)

    async def _wait_for_answer(self, answer: Exchange | asyncio.Event) -> None:
        """Wait for as long as the server is never silent for `timeout` seconds."""
        try:
            async with asyncio.timeout(self.timeout) as self._deadline:
                await answer.wait()
        except TimeoutError:
            about = f" to {answer.name}" if isinstance(answer, Exchange) else ""
            self.silent = True
            self.abort(f"no answer{about} in {self.timeout:g} seconds")
        finally:
            self._deadline = None
        self._require_connection()

    async def _wait_for_news(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    @contextmanager
    def _or_close(self, exchange: Exchange) -> Iterator[None]:
        """Close the connection if the command does not end: its answer would be taken for that of another."""
        try:
            yield
        except asyncio.CancelledError:
            self.abort(f"a canceled {exchange.name}")
            raise
        except FOREIGN as error:
            # aioimaplib's own show the command, and that may hold the password.
            words = "" if isinstance(error, AioImapException) else str(error)
            self.abort(f"{exchange.name} failed: {words or type(error).__name__}")
            self._require_connection()
        finally:
            self._exchange = None

    def _require_connection(self) -> None:
        if self._failure is not None:
            raise Unreachable(f"{self.peer}: {self._failure}", backoff(self._failure))

    # The link: what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        # uvloop's are no subclass of it, but do what it does.
        self._link = cast("asyncio.Transport", transport)

    def data_received(self, d: bytes) -> None:
        """Take bytes from the network."""
        if self._is_over():
            return
        self._received_bytes += len(d)
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(self._loop.time() + self.timeout)
        if self._received_bytes > REPLY_LIMIT:
            self.abort(f"the server's answer has more than {REPLY_LIMIT} bytes")
            return
        try:
            for response in self._splitter.feed(d):
                self._take(response)
                if self._is_over():
                    return
        except MalformedError as error:
            self.abort(f"the server's answer cannot be read: {error}")

    def pause_writing(self) -> None:
        """Wait with what is written: the server does not take it as fast."""
        if self._failure is None:
            self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is pending."""
        self.abort(f"the connection was lost{f': {exc}' if exc else ''}")
        self._closed.set()

    def send(self, line: str, scrub: str | None = None) -> None:  # noqa: ARG002  # base logs lines, and with them passwords
        """Send one line."""
        self._link_now.write(f"{line}\r\n".encode())

    @property
    def _link_now(self) -> asyncio.Transport:
        assert self._link is not None
        return self._link

    def _use_tls(self, link: asyncio.BaseTransport) -> None:
        self._link = cast("asyncio.Transport", link)
        self._deaf = False

    def _is_over(self) -> bool:
        return self._deaf or self._failure is not None

    # What the server says

    def _take(self, response: Response) -> None:
        text = response[0]
        if text.startswith(b"* "):
            self._take_untagged(response)
        elif text.startswith(b"+"):
            self._take_continuation(text[1:].strip())
        else:
            tag, _, rest = text.partition(b" ")
            if self._exchange is None or tag != self._exchange.tag.encode():
                raise MalformedError(f"an answer to nothing we asked: {_readable(text)}")
            self._take_tagged(self._exchange, rest)

    def _take_tagged(self, exchange: Exchange, rest: bytes) -> None:
        result, _, words = rest.partition(b" ")
        self.known.take_code(words)
        if exchange.name == "STARTTLS" and result.upper() == b"OK":
            self._deaf = True
            self._splitter.clear()
        self._exchange = None
        exchange.end(result, words)
        self._idle_event.set()
        self._wake.set()

    def _take_untagged(self, response: Response) -> None:
        is_greeting = self.known.stage == CONNECTED
        if self._exchange is not None:
            self._exchange.take(response)
        self.known.take(response)
        if self.known.stage == LOGOUT:
            self._take_goodbye(response, is_greeting=is_greeting)
            return
        if is_greeting:
            self._greeted.set()
        is_status = response[0][2:9].upper() == b"STATUS "
        if (is_status and self.on_status is not None and self.on_status(response)) or self.known.news:
            self._wake.set()

    def _take_goodbye(self, response: Response, *, is_greeting: bool) -> None:
        words = _readable(response[0][2:].partition(b" ")[2])
        if is_greeting:
            self.abort(f"the server turns us away: {words}")
        elif self._exchange is None or self._exchange.name != "LOGOUT":
            self.abort(f"the server closed the connection: {words}")

    def _take_continuation(self, challenge: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.name in ("IDLE", "APPEND"):
            self._idle_event.set()
        elif exchange is not None and exchange.name == "AUTHENTICATE":
            if exchange.has_given_up:  # or it could go on for ever
                self.abort("the server goes on with a login that we have ended")
            else:
                self.send(exchange.answer(challenge))


def _readable(words: bytes) -> str:
    return words[:500].decode(errors="replace")
