"""Replies of an SMTP server, put together from what arrives (RFC 5321 §4.2). Knows nothing of connections."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_LINE = 8192
"""Bytes; RFC 5321 §4.5.3.1.5 allows 512, and real servers write more."""

LONGEST = 4 * LONGEST_LINE
"""Bytes of a whole reply."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)\s*")
_TOO_MANY = re.compile(r"too many (?:\w+ )?recipients", re.IGNORECASE)


class NoReply(ValueError):
    """What arrived is no reply; the words show how it begins."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered to one command: its code, and its words, line by line."""

    code: int
    lines: tuple[str, ...]

    @property
    def is_positive(self) -> bool:
        """2yz: it was done."""
        return 200 <= self.code < 300

    @property
    def is_negative(self) -> bool:
        """4yz or 5yz: it was not done."""
        return self.code >= 400

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), if there is one that fits the code; else empty."""
        match = _ENHANCED.match(self.lines[0])
        return match[0].strip() if match is not None and match[1] == str(self.code)[0] else ""

    @property
    def told(self) -> tuple[str, str]:
        """The enhanced status code or else the reply code, and the server's words without it."""
        code = self.enhanced
        if not code:
            return str(self.code), " ".join(self.lines)
        # A reply of several lines repeats the code in each (RFC 2034 §4).
        return code, " ".join(_ENHANCED.sub("", line, count=1) for line in self.lines)

    @property
    def is_of_the_server(self) -> bool:
        """Whether it tells of trouble of the mail system (4.3.Z, RFC 3463 §3.4) or its end (421), and not of a message.

        4.3.3 and 4.3.4 say that it cannot carry this one.
        """
        return self.code == 421 or (self.enhanced.startswith("4.3.") and self.enhanced not in ("4.3.3", "4.3.4"))

    @property
    def wants_fewer_recipients(self) -> bool:
        """Whether the answer to RCPT may mean that the transaction has enough (RFC 5321 §4.5.3.1.10)."""
        if self.code not in (450, 451, 452, 550, 552):
            return False
        words = " ".join(self.lines)
        return (
            self.enhanced.endswith(".5.3")
            or _TOO_MANY.search(words) is not None
            or (self.code in (452, 552) and not self.enhanced)
        )

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}".strip()


class ReplyReader:
    """Puts replies together."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[str] = []
        self._size = 0
        self._code = b""

    @property
    def has_begun(self) -> bool:
        """Whether a part of a reply has come, but not its end."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Take what arrived; yield the replies that are complete by now. Raises NoReply after them."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            reply = self._line(line.removesuffix(b"\r"))
            if reply is not None:
                yield reply
        if len(self._buffer) > LONGEST_LINE:
            raise NoReply("a line without end")

    def _line(self, line: bytes) -> Reply | None:
        match = _LINE.fullmatch(line)
        self._size += len(line)
        if match is None or (self._code and match[1] != self._code):
            raise NoReply(f"this is no reply: {line[:200].decode('utf-8', 'replace')}")
        if len(line) > LONGEST_LINE or self._size > LONGEST:
            raise NoReply("a reply that is too long")
        self._code = match[1]
        self._lines.append((match[3] or b"").strip().decode("utf-8", "replace"))
        if match[2] == b"-":
            return None
        reply = Reply(int(self._code), tuple(self._lines))
        self._lines, self._size, self._code = [], 0, b""
        return reply
