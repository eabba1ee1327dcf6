"""aioimaplib's protocol with another receiving half: it stands between IMAP's commands and the bytes.

One command at a time; responses are cut iteratively (`_imap_response`), so that neither their number nor their content
matters; whatever ends the connection (its loss, BYE, silence, a cancelled command, bytes that are no IMAP) ends
what is pending at once, and every later command, with Unreachable.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import cast

from aioimaplib import AUTH, CONNECTED, LOGOUT, NONAUTH, SELECTED, Command, IMAP4ClientProtocol
from aioimaplib import Response as LibraryResponse

from transports._imap_reply import Reply, response_code
from transports._imap_response import LITERAL_LIMIT, MalformedError, Response, Splitter
from transports.base import Permanent, TransportError, Unreachable

REPLY_LIMIT = LITERAL_LIMIT + (64 << 20)
"""Bytes of all responses to one command."""

_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE)\s*", re.IGNORECASE)


class _Exchange(Command):
    """A command with what we answer to the server's continuation requests, in their order."""

    def __init__(self, name: str, tag: str, *arguments: str, prefix: str) -> None:
        super().__init__(name, tag, *arguments, prefix=prefix)
        self.answers: deque[str] = deque()


class ImapProtocol(IMAP4ClientProtocol):
    """One connection. `peer` names the server in errors; `timeout` is how many seconds it may be silent.

    `codes` holds the last value of response codes such as UIDVALIDITY, `exists` how many messages the selected folder
    has, and `news` is set when that has grown; whoever looks clears it.
    """

    def __init__(self, peer: str, timeout: float, splitter: Splitter | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(self._loop)
        self._link: asyncio.Transport | None = None
        self._command: Command | None = None
        self.peer = peer
        self.timeout = timeout
        self.exists = 0
        self.news = asyncio.Event()
        self.codes: dict[str, str] = {}
        self.capabilities: set[str] = set()
        self._splitter = splitter or Splitter()
        self._turn = asyncio.Lock()
        self._wanted = 0
        self._data: list[Response] = []
        self._received_bytes = 0
        self._deadline: asyncio.Timeout | None = None
        self._deaf = False
        self._greeted = asyncio.Event()
        self._wake = asyncio.Event()
        self._failure: str | None = None
        self._closed = asyncio.Event()

    # Commands

    async def greeting(self) -> None:
        """Wait for the server's first words (RFC 3501 §7.1)."""
        await self._answered(self._greeted)

    async def run(self, name: str, *arguments: str, uid: bool = False, answers: Iterable[str] = ()) -> Reply:
        """Give one command and return the reply, whatever it is; `answers` go to the server's continuation requests.

        Raises Unreachable without a connection, Permanent for arguments that no command line can hold.
        """
        try:
            command = _Exchange(name, self.new_tag(), *arguments, prefix="UID" if uid else "")
        except ValueError as error:
            raise Permanent(str(error)) from None
        command.answers.extend(answers)
        response = await self.execute(command)
        return Reply(response.result, response.lines[-1].decode(errors="replace"), tuple(response.lines[:-1]))

    async def execute(self, command: Command, scrub: str | None = None) -> LibraryResponse:  # noqa: ARG002  # nothing is logged here
        """Give one command. The lines are the Responses before the tagged one, and then its words."""
        self._wanted += 1
        self._wake.set()
        try:
            await self._turn.acquire()
        finally:
            self._wanted -= 1
        try:
            return await self._execute(command)
        finally:
            self._turn.release()

    async def idle_for(self, seconds: float) -> None:
        """IDLE (RFC 2177) until there is news, another command wants its turn, or the seconds are over."""
        async with self._turn:
            self._wake.clear()
            if self.news.is_set() or self._wanted:
                return
            command = Command("IDLE", self.new_tag())
            self._idle_event.clear()
            try:
                self._give(command)
                await self._answered(self._idle_event)
                await self._pause(seconds)
                if self._command is command:
                    self.send("DONE")
                    await self._answered(command)
                self._check()
            except asyncio.CancelledError:
                self.abort("a cancelled IDLE")
                raise
            finally:
                self._command = None
            if command.response.result != "OK":
                # It is offered and refused: do without.
                self.capabilities.discard("IDLE")

    async def rest(self, seconds: float) -> None:
        """Say nothing until there is news or the seconds are over. Raises Unreachable when the connection is lost."""
        self._check()
        self._wake.clear()
        if not self.news.is_set():
            await self._pause(seconds)
        self._check()

    async def select(self, mailbox: str = "INBOX") -> Reply:
        """Select a folder, its name as it goes into the command."""
        self.state = AUTH
        for code in ("UIDVALIDITY", "UIDNEXT", "PERMANENTFLAGS"):
            self.codes.pop(code, None)
        reply = await self.run("SELECT", mailbox)
        if reply.ok:
            self.state = SELECTED
        return reply

    async def capability(self) -> None:
        """Ask what the server can do, unless it has said so since `capabilities` was last cleared."""
        if not self.capabilities:
            (await self.run("CAPABILITY")).require(f"{self.peer} does not say what it can do")

    async def starttls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS (RFC 3501 §6.2.1). What came in clear with or after the answer is thrown away, unread."""
        (await self.run("STARTTLS")).require(f"{self.peer} refuses STARTTLS")
        self.capabilities.clear()
        self.codes.clear()
        assert self._link is not None
        self._link = await self._loop.start_tls(self._link, self, context, server_hostname=host)
        self._check()
        self._deaf = False

    async def close(self) -> None:
        """Say goodbye for at most two seconds, and close."""
        if self._failure is None:
            with suppress(TransportError, TimeoutError):
                async with asyncio.timeout(2):
                    await self.run("LOGOUT")
        self.abort("closed")
        await self._closed.wait()

    def abort(self, reason: str) -> None:
        """Close the connection now."""
        self._lose(reason)

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        # uvloop's are no subclass of it, but do what it does.
        self._link = cast("asyncio.Transport", transport)

    def data_received(self, d: bytes) -> None:
        """Take bytes from the network."""
        if self._deaf or self._failure is not None:
            return
        self._received_bytes += len(d)
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(self._loop.time() + self.timeout)
        if self._received_bytes > REPLY_LIMIT:
            self._lose(f"the server's answer has more than {REPLY_LIMIT} bytes")
            return
        try:
            for response in self._splitter.feed(d):
                self._take(response)
                if self._failure is not None:
                    return
        except MalformedError as error:
            self._lose(f"the server's answer cannot be read: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is pending."""
        self._lose(f"the connection was lost{f': {exc}' if exc else ''}")
        self._closed.set()

    def send(self, line: str, scrub: str | None = None) -> None:  # noqa: ARG002  # base logs lines, and with them passwords
        """Send one line."""
        assert self._link is not None
        self._link.write(f"{line}\r\n".encode())

    def _take(self, response: Response) -> None:
        text = response[0]
        if text.startswith(b"* "):
            self._take_untagged(response)
        elif text.startswith(b"+"):
            self._take_continuation()
        else:
            tag, _, rest = text.partition(b" ")
            command = self._command
            if command is None or tag != command.tag.encode():
                raise MalformedError(f"an answer to nothing we asked: {_shown(text)}")
            self._take_tagged(command, rest)

    def _take_tagged(self, command: Command, rest: bytes) -> None:
        result, _, words = rest.partition(b" ")
        self._note_code(words)
        if command.name == "STARTTLS" and result.upper() == b"OK":
            self._deaf = True
            self._splitter.clear()
        self._command = None
        command.close(words, result.decode(errors="replace").upper())
        self._idle_event.set()
        self._wake.set()

    def _take_untagged(self, response: Response) -> None:
        text = response[0]
        word, _, words = text[2:].partition(b" ")
        kind = word.upper()
        if self.state == CONNECTED:
            self._greet(kind, words)
        elif kind == b"BYE":
            logging_out = self._command is not None and self._command.name == "LOGOUT"
            if not logging_out:
                self._lose(f"the server closed the connection: {_shown(words)}")
            self.state = LOGOUT
        elif kind in (b"OK", b"NO", b"BAD"):
            self._note_code(words)
        elif kind == b"CAPABILITY":
            self.capabilities = set(words.decode(errors="replace").upper().split())
        elif numbered := _NUMBERED.fullmatch(text):
            self._note_number(int(numbered[1]), numbered[2].upper())
        elif kind == b"VANISHED" and not words.upper().startswith(b"(EARLIER)"):
            self.exists = max(0, self.exists - _count(words))
        if self._command is not None:
            self._data.append(response)

    def _take_continuation(self) -> None:
        command = self._command
        if command is not None and command.name == "IDLE":
            self._idle_event.set()
        elif command is not None and command.name == "AUTHENTICATE":
            # "*" ends an exchange that we have nothing more to say in (RFC 3501 §6.2.2).
            answers = command.answers if isinstance(command, _Exchange) else None
            self.send(answers.popleft() if answers else "*")

    def _greet(self, kind: bytes, words: bytes) -> None:
        if kind not in (b"OK", b"PREAUTH"):
            self._lose(f"the server turns us away: {_shown(words)}")
            return
        self.state = NONAUTH if kind == b"OK" else AUTH
        self._note_code(words)
        self._greeted.set()

    def _note_code(self, words: bytes) -> None:
        name, value = response_code(words.decode(errors="replace"))
        if name == "CAPABILITY":
            self.capabilities = set(value.upper().split())
        elif name:
            self.codes[name] = value

    def _note_number(self, number: int, kind: bytes) -> None:
        if kind == b"EXPUNGE":
            self.exists = max(0, self.exists - 1)
            return
        if number > self.exists and self.state == SELECTED:
            self.news.set()
            self._wake.set()
        self.exists = number

    # Waiting

    async def _execute(self, command: Command) -> LibraryResponse:
        try:
            self._give(command)
            await self._answered(command)
            self._check()
        except asyncio.CancelledError:
            # Its answer would be taken for that of the next.
            self.abort(f"a cancelled {command.name}")
            raise
        finally:
            self._command = None
            data, self._data = self._data, []
        result, (words, *_) = command.response
        return LibraryResponse(result, [*data, words])

    def _give(self, command: Command) -> None:
        self._check()
        self._data = []
        self._received_bytes = 0
        self._command = command
        self.send(str(command))

    async def _answered(self, answer: Command | asyncio.Event) -> None:
        """Wait for an answer, as long as the server is not silent for too long."""
        try:
            async with asyncio.timeout(self.timeout) as self._deadline:
                await answer.wait()
        except TimeoutError:
            about = f" to {answer.name}" if isinstance(answer, Command) else ""
            self._lose(f"no answer{about} in {self.timeout:g} seconds")
        finally:
            self._deadline = None
        self._check()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _check(self) -> None:
        if self._failure is not None:
            raise Unreachable(f"{self.peer}: {self._failure}")

    def _lose(self, reason: str) -> None:
        if self._failure is not None:
            return
        self._failure = reason
        self.state = LOGOUT
        command, self._command = self._command, None
        if command is not None:
            command.close(b"", "BYE")
        for event in (self._greeted, self._idle_event, self._wake):
            event.set()
        if self._link is not None:
            self._link.abort()
        else:
            self._closed.set()


def _shown(words: bytes) -> str:
    return words[:500].decode(errors="replace")


def _count(uids: bytes) -> int:
    """Count the numbers of a UID set."""
    spans = (part.split(b":") for part in uids.split(b","))
    return sum(abs(int(span[-1]) - int(span[0])) + 1 for span in spans if all(end.isdigit() for end in span))
