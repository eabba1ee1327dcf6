"""The receiving half that replaces aioimaplib's: what the server says, and what we know of it therefore.

Responses are cut iteratively (`_imap_response`), so that neither their number nor their content matters. What nobody
asked for is never dropped. Whatever ends the connection (its loss, BYE, bytes that are no IMAP) ends what is pending.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

from aioimaplib import AUTH, CONNECTED, LOGOUT, NONAUTH, SELECTED, Command, IMAP4ClientProtocol

from transports.base import Unreachable
from transports.imap.decode import LITERAL_LIMIT, MalformedError, Response, Splitter, vanished
from transports.imap.reply import backoff, response_code

REPLY_LIMIT = LITERAL_LIMIT + (64 << 20)
"""Bytes of all responses to one command."""

_CODES_LIMIT = 100


class Exchange(Command):
    """A command with what we answer to the server's continuation requests, in their order."""

    def __init__(self, name: str, tag: str, *arguments: str, prefix: str) -> None:
        super().__init__(name, tag, *arguments, prefix=prefix)
        self.answers: deque[str] = deque()


class ImapReceiver(IMAP4ClientProtocol):
    """What one connection hears.

    `codes` holds the last value of response codes such as UIDVALIDITY, `exists` how many messages the selected folder
    has, and `news` is set when that has grown; whoever looks clears it. STATUS responses go to `on_status`, since
    they come unasked too (RFC 5465). `silent` says of a connection that has ended that no answer came in time.
    """

    def __init__(self, peer: str, timeout: float, splitter: Splitter | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(self._loop)
        self.peer = peer
        self.timeout = timeout
        self.exists = 0
        self.news = asyncio.Event()
        self.codes: dict[str, str] = {}
        self.capabilities: set[str] = set()
        self.enabled: set[str] = set()
        self.on_status: Callable[[Response], bool] | None = None
        self._link: asyncio.Transport | None = None
        self._command: Command | None = None
        self._splitter = splitter or Splitter()
        self._data: list[Response] = []
        self._received_bytes = 0
        self._deadline: asyncio.Timeout | None = None
        self.silent = False
        self._deaf = False
        self._greeted = asyncio.Event()
        self._wake = asyncio.Event()
        self._failure: str | None = None
        self._closed = asyncio.Event()
        self._kinds: Mapping[bytes, Callable[[bytes], None]] = {
            b"BYE": self._take_bye,
            b"CAPABILITY": self._take_capability,
            b"ENABLED": self._take_enabled,
            **dict.fromkeys((b"OK", b"NO", b"BAD"), self._note_code),
        }

    @property
    def validity(self) -> str:
        """UIDVALIDITY of the selected folder."""
        return self.codes.get("UIDVALIDITY", "")

    def number(self, code: str) -> int:
        """Return what a response code has told, such as UIDNEXT; 0 if it was not told, or is no number."""
        value = self.codes.get(code, "")
        return int(value) if re.fullmatch("[0-9]{1,20}", value) else 0

    # The link

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The encryption, if there is one."""
        return self._link.get_extra_info("ssl_object") if self._link is not None else None

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
            self._lose(f"the server's answer has more than {REPLY_LIMIT} bytes")
            return
        try:
            for response in self._splitter.feed(d):
                self._take(response)
                if self._is_over():
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

    def abort(self, reason: str) -> None:
        """Close the connection now."""
        self._lose(reason)

    # What is said

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
        word, _, words = response[0][2:].partition(b" ")
        kind = word.upper()
        if self.state == CONNECTED:
            self._greet(kind, words)
        elif kind.isdigit():
            self._take_numbered(kind, words.strip().upper())
        elif kind in self._kinds:
            self._kinds[kind](words)
        elif kind == b"STATUS":
            self._take_status(response)
        elif kind == b"VANISHED":
            self._take_vanished(response)
        # What comes while we idle has been noted, and nobody reads it again.
        if self._command is not None and self._command.name != "IDLE":
            self._data.append(response)

    def _take_numbered(self, number: bytes, kind: bytes) -> None:
        if kind == b"EXPUNGE":
            self.exists = max(0, self.exists - 1)
        elif kind == b"EXISTS" and len(number) <= 10:
            if int(number) > self.exists and self.state == SELECTED:
                self.news.set()
                self._wake.set()
            self.exists = int(number)

    def _take_capability(self, words: bytes) -> None:
        self.capabilities = set(words.decode(errors="replace").upper().split())

    def _take_enabled(self, words: bytes) -> None:
        self.enabled |= set(words.decode(errors="replace").upper().split())

    def _take_vanished(self, response: Response) -> None:
        # What had vanished earlier is not counted in EXISTS.
        if b"(EARLIER)" not in response[0].upper():
            self.exists = max(0, self.exists - sum(span.stop - span.start for span in vanished(response)))

    def _take_continuation(self) -> None:
        command = self._command
        if command is not None and command.name == "IDLE":
            self._idle_event.set()
        elif command is not None and command.name == "AUTHENTICATE":
            # "*" ends an exchange that we have nothing more to say in (RFC 3501 §6.2.2).
            answers = command.answers if isinstance(command, Exchange) else None
            self.send(answers.popleft() if answers else "*")

    def _take_bye(self, words: bytes) -> None:
        if self._command is None or self._command.name != "LOGOUT":
            self._lose(f"the server closed the connection: {_shown(words)}")
        self.state = LOGOUT

    def _take_status(self, response: Response) -> None:
        if self.on_status is not None and self.on_status(response):
            self._wake.set()

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
        elif name and (name in self.codes or len(self.codes) < _CODES_LIMIT):
            self.codes[name] = value

    # The end

    def _is_over(self) -> bool:
        return self._deaf or self._failure is not None

    def _check(self) -> None:
        if self._failure is not None:
            raise Unreachable(f"{self.peer}: {self._failure}", backoff(self._failure))

    def _lose(self, reason: str) -> None:
        if self._failure is not None:
            return
        self._failure = reason
        self.state = LOGOUT
        self._splitter.clear()
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
