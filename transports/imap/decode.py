"""What an IMAP server says: cut from the stream, and read (RFC 3501 §7 and §9). No I/O."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

LINE_LIMIT = 16 << 20
"""Bytes of one response without its literals. A SEARCH over a million messages is one line of 8 MB."""

LITERAL_LIMIT = 128 << 20
"""Bytes of one literal, and so of one message."""

Response = tuple[bytes, ...]
"""One response as text, literal, text, literal, …, text: the line's parts, each without line end and literal length."""

Value = bytes | None | list["Value"]
"""A string, NIL or a parenthesised list (RFC 3501 §4)."""

# Only data carries literals: what follows OK, NO, BAD, BYE or PREAUTH is human text and may end in anything.
_STATUS = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_LITERAL = re.compile(rb"~?\{(\d{1,20})\}$")
_TOKEN = re.compile(rb'(?s)\s*(?:([()])|"((?:[^"\\]|\\.)*)"|((?:[^\s()"\[]|\[[^\]]*\])+))')
_INTERNALDATE = re.compile(rb"([ \d]\d)-(\w{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = (b"JAN", b"FEB", b"MAR", b"APR", b"MAY", b"JUN", b"JUL", b"AUG", b"SEP", b"OCT", b"NOV", b"DEC")
_FETCH = re.compile(rb"\* \d+ FETCH ", re.IGNORECASE)
_FLAT = re.compile(
    rb'\* \d+ FETCH \(((?:[\w.]+ (?:"[^"\\]*"|(?!NIL\b)\w+)(?: |(?=\))))*)(?:(BODY\[[\w.]*\]) |(\)))', re.IGNORECASE
)
_PAIR = re.compile(rb'(?<![\w.])([\w.]+) (?:"([^"]*)"|(\w+))')
_ESCAPED = re.compile(rb"\\(.)")
_STATUS_OF = re.compile(rb"\* STATUS ", re.IGNORECASE)
_DEPTH_LIMIT = 100


class MalformedError(Exception):
    """The server's bytes are not IMAP, or exceed a limit."""


class Splitter:
    """Cuts the stream into responses. A literal is taken by its length and never looked into.

    A literal that is still to come is written where it stays: BytesIO gives its bytes away without copying them.
    """

    def __init__(self, line_limit: int = LINE_LIMIT, literal_limit: int = LITERAL_LIMIT) -> None:
        self._line_limit = line_limit
        self._literal_limit = literal_limit
        self.clear()

    def clear(self) -> None:
        """Forget what has not been given out."""
        self._parts: list[bytes] = []
        self._line = bytearray()
        self._line_bytes = 0
        self._literal = BytesIO()
        self._missing = 0

    def feed(self, received: bytes) -> Iterator[Response]:
        """Give out the responses that are complete now. Raises MalformedError."""
        position, size = 0, len(received)
        while position < size:
            if self._missing:
                position += self._continue_literal(received[position : position + self._missing])
                continue
            line, position = self._next_line(received, position)
            if line is None:
                return
            length = self._announced(line)
            if length is None:
                response = (*self._parts, line)
                self._parts.clear()
                self._line_bytes = 0
                yield response
            elif position + length <= size:
                self._parts.append(received[position : position + length])
                position += length
            else:
                self._literal, self._missing = BytesIO(), length

    def _continue_literal(self, piece: bytes) -> int:
        self._literal.write(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._parts.append(self._literal.getvalue())
            self._literal = BytesIO()
        return len(piece)

    def _next_line(self, received: bytes, position: int) -> tuple[bytes | None, int]:
        """Return the line that ends here without its end, or None, and the position behind it."""
        begun = self._line
        if begun.endswith(b"\r") and received.startswith(b"\n", position):
            self._line = bytearray()
            return bytes(begun[:-1]), position + 1
        end = received.find(b"\r\n", position)
        piece = received[position:end] if end >= 0 else received[position:]
        self._line_bytes += len(piece)
        if self._line_bytes > self._line_limit:
            raise MalformedError(f"a line of more than {self._line_limit} bytes")
        if end < 0:
            begun += piece
            return None, len(received)
        if begun:
            self._line = bytearray()
            piece = bytes(begun + piece)
        return piece, end + 2

    def _announced(self, line: bytes) -> int | None:
        """Return the length of the literal that follows this line, whose text is then taken; None if none does."""
        if not line.endswith(b"}"):
            return None
        match = _LITERAL.search(line, max(0, len(line) - 24))
        first = self._parts[0] if self._parts else line
        if match is None or not first.startswith(b"* ") or _STATUS.match(first):
            return None
        size = int(match[1])
        if size > self._literal_limit:
            raise MalformedError(f"a literal of {size} bytes, more than {self._literal_limit}")
        self._parts.append(line[: match.start()])
        return size


def values(response: Response, kind: re.Pattern[bytes]) -> list[Value] | None:
    """Return what follows the response's name, `kind` ("* LIST "); None if it is another, or cannot be read."""
    match = kind.match(response[0])
    if match is None:
        return None
    try:
        return _values((response[0][match.end() :], *response[1:]))
    except MalformedError:
        return None


def fetched(response: Response) -> dict[bytes, Value] | None:
    """Return the attributes of a FETCH response by upper-case name; None if it is another, or cannot be read."""
    # Nearly all of them hold no lists: two expressions read them ten times faster than tokens do.
    if len(response) in (1, 3) and response[-1].endswith(b")") and (flat := _FLAT.fullmatch(response[0])):
        attributes: dict[bytes, Value] = {name.upper(): quoted or atom for name, quoted, atom in _PAIR.findall(flat[1])}
        if len(response) == 1 and flat[3]:
            return attributes
        if len(response) == 3 and flat[2] and response[2] == b")":
            attributes[flat[2].upper()] = response[1]
            return attributes
    parsed = values(response, _FETCH)
    if parsed is None or len(parsed) != 1 or not isinstance(parsed[0], list):
        return None
    attributes = {}
    for name, value in zip(parsed[0][::2], parsed[0][1::2], strict=False):
        # Twice and different: a literal of the wrong length has reached into the next message.
        if isinstance(name, bytes) and attributes.setdefault(name.upper(), value) != value:
            return None
    return attributes


def searched(response: Response) -> list[int]:
    """Return the numbers of a SEARCH response; none if it is another."""
    words = response[0].split()
    if len(words) < 2 or words[1].upper() != b"SEARCH":
        return []
    return [uid for word in words[2:] if (uid := number(word)) is not None]


def vanished(response: Response) -> list[range]:
    """Return the UIDs of a VANISHED response (RFC 7162 §3.2.10), earlier or not; none if it is another."""
    words = response[0].split()
    if len(words) < 3 or words[1].upper() != b"VANISHED":
        return []
    spans = [part.split(b":") for part in words[-1].split(b",")]
    ends = [(number(span[0]), number(span[-1])) for span in spans]
    return [range(min(a, b), max(a, b) + 1) for a, b in ends if a is not None and b is not None]


def status(response: Response) -> tuple[bytes, dict[str, int]] | None:
    """Return the folder's name and numbers of a STATUS response; None if it is another, or cannot be read."""
    match values(response, _STATUS_OF):
        case [bytes(name), list(told)]:
            pairs = zip(told[::2], told[1::2], strict=False)
            return name, {
                key.upper().decode(errors="replace"): int(number)
                for key, number in pairs
                if isinstance(key, bytes) and isinstance(number, bytes) and number.isdigit() and len(number) <= 20
            }
    return None


def number(value: Value) -> int | None:
    """Read a number of at most 20 digits (RFC 9051 §9, number64); None if it is none."""
    return int(value) if isinstance(value, bytes) and len(value) <= 20 and value.isdigit() else None


def internal_date(value: Value) -> datetime | None:
    """Read an INTERNALDATE (RFC 3501 §9, date-time) as UTC; None if it cannot be read."""
    match = _INTERNALDATE.fullmatch(value) if isinstance(value, bytes) else None
    if match is None or match[2].upper() not in _MONTHS:
        return None
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    day, year, hour, minute, second = (int(number) for number in match.group(1, 3, 4, 5, 6))
    try:
        local = datetime(year, _MONTHS.index(match[2].upper()) + 1, day, hour, minute, second, tzinfo=UTC)
        return local + offset if match[7] == b"-" else local - offset
    except (ValueError, OverflowError):
        return None


def _values(response: Response) -> list[Value]:
    stack: list[list[Value]] = [[]]
    for index, part in enumerate(response):
        if index % 2:
            stack[-1].append(part)
            continue
        position, end = 0, len(part.rstrip())
        while position < end:
            token = _TOKEN.match(part, position)
            if token is None or len(stack) > _DEPTH_LIMIT:
                raise MalformedError("unreadable data")
            position = token.end()
            if token[1] == b"(":
                stack.append([])
            elif token[1] == b")":
                inner = stack.pop()
                if not stack:
                    raise MalformedError("a closing parenthesis too many")
                stack[-1].append(inner)
            elif token[3] is not None:
                stack[-1].append(None if token[3].upper() == b"NIL" else token[3])
            else:
                stack[-1].append(_ESCAPED.sub(rb"\1", token[2]))
    if len(stack) != 1:
        raise MalformedError("a closing parenthesis too few")
    return stack[0]
