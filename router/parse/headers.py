"""Header fields of real mail: folding, encoded words, ids, parameters and dates (RFC 5322, 2047, 2231)."""

import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from router.parse.charset import decode
from router.parse.text import clean, clean_line
from router.parse.transfer import decode_base64

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*")
_FIRST_FIELD = re.compile(rb"[ \t]*" + _FIELD.pattern)
_BEFORE_FIELDS = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_OF_MESSAGE = re.compile(
    rb"(from|to|cc|subject|date|message-id|received|return-path|sender|reply-to|in-reply-to|references|mime-version"
    rb"|content-type|content-transfer-encoding)[ \t]*:",
    re.IGNORECASE,
)
_OF_PART = re.compile(rb"(content-[a-z-]{1,40})[ \t]*:", re.IGNORECASE)
_FOLD = re.compile(r"\r?\n(?=[ \t])|[\r\n]")
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\r\n]*)\?=")
_ESCAPED = re.compile(r"\\(.)")
_ID = re.compile(r"<([^<>]+)>")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_CONTINUED = re.compile(r"([^*]+)\*(?:(\d{1,3})(\*)?)?")

MOST_HEADER_BYTES = 1_000_000
_MOST_FIRST_LINES = 500
_MOST_PARAMETER_TEXT = 20_000
_MOST_IDS = 32

Fields = dict[str, list[bytes]]


def read_fields(
    raw: bytes, start: int = 0, end: int | None = None, most: int = MOST_HEADER_BYTES
) -> tuple[Fields, int, list[str]]:
    """Split the headers at the start of `raw[start:end]` into raw values by lower-case name.

    Also says where in `raw` the body begins, and what was wrong. Of headers longer than `most` bytes the rest is not
    read.
    """
    ordered, body, defects = read_in_order(raw, start, end, most)
    fields: Fields = {}
    for name, value in ordered:
        fields.setdefault(name, []).append(value)
    return fields, body, defects


def read_in_order(
    raw: bytes, start: int = 0, end: int | None = None, most: int = MOST_HEADER_BYTES
) -> tuple[list[tuple[str, bytes]], int, list[str]]:
    """Do as `read_fields` does, with the fields as they stand, from the top: who wrote one, its place may tell."""
    end = len(raw) if end is None else end
    starts: list[tuple[str, int, int]] = []  # name ("" of a line that is no field), where its line and its value start
    seen: set[str] = set()
    position = body = first = start or _first_line(raw, end)
    defects = ["there is an empty line or a mark before the headers"] * (first > start)
    known = start  # where the next field is that no text begins with: everything before it is headers, too
    while position < end:
        body = after = raw.find(b"\n", position, end) + 1 or end
        if raw.startswith((b"\n", b"\r\n"), position, end):
            break
        match = _FIELD.match(raw, position, after) if starts else _FIRST_FIELD.match(raw, position, after)
        if match:
            starts.append((match[1].decode("ascii").lower(), position, match.end()))
            seen.add(starts[-1][0])
        elif raw[position] not in b" \t" and not (position == first and raw.startswith((b"From ", b">From "), first)):
            if position >= known:
                known = _known_field(raw, after, min(end, start + most), seen, is_part=start > 0)
            if position >= known:
                defects.append("there is no empty line between the headers and the text")
                body = position
                break
            defects.append("a line among the headers is not a header: it was passed over")
            starts.append(("", position, position))
        position = after
        if position - start > most:
            defects.append(f"the headers are longer than {most:,} bytes: the rest of them was not read")
            body = _after_headers(raw, position, end)
            break
    ends = [field for _, field, _ in starts[1:]] + [position]
    fields = [
        (name, raw[value : min(field_end, value + most)])
        for (name, _, value), field_end in zip(starts, ends, strict=False)
        if name
    ]
    return fields, body, list(dict.fromkeys(defects))


def _first_line(raw: bytes, end: int) -> int:
    """Say where a message's headers begin: below a byte order mark and empty lines, if they do begin there.

    They may begin with any field; that it is one, and no text, a field further down tells that only headers have.
    """
    found = _BEFORE_FIELDS.match(raw, 0, end)
    position = first = found.end() if found else 0
    for _ in range(_MOST_FIRST_LINES if first else 0):
        if _OF_MESSAGE.match(raw, position, end):
            return first
        after = raw.find(b"\n", position, end) + 1 or end
        is_line = _FIELD.match(raw, position, after) or raw.startswith((b" ", b"\t"), position)
        if not (is_line or (position == first and raw.startswith((b"From ", b">From "), first))):
            break
        position = after
    return 0


def _known_field(raw: bytes, position: int, end: int, seen: set[str], *, is_part: bool) -> int:
    """Find the next field that only headers have, and that is new; 0 if an empty line or a boundary is nearer."""
    pattern = _OF_PART if is_part else _OF_MESSAGE
    while position < end and not raw.startswith((b"\n", b"\r\n", b"--"), position):
        found = pattern.match(raw, position, end)
        name = found[1].decode("ascii").lower() if found else ""
        if found and (name == "received" or name not in seen):
            return position
        position = raw.find(b"\n", position, end) + 1 or end
    return 0


def _after_headers(raw: bytes, position: int, end: int) -> int:
    ends = [found + len(mark) for mark in (b"\n\r\n", b"\n\n") if (found := raw.find(mark, position - 1, end)) >= 0]
    return min(ends, default=end)


def raw_text(raw: bytes) -> str:
    """Give a field's value as it stands, decoded as UTF-8 or cp1252, with its folds."""
    return decode(raw)[0].strip(" \t\r\n")


def unfold(text: str) -> str:
    """Take the line breaks out of a folded value (RFC 5322 §2.2.3)."""
    return _FOLD.sub("", text) if "\n" in text or "\r" in text else text


def unescape(text: str) -> str:
    """Take the backslashes out of what stood between quotes (RFC 5322 §3.2.1)."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def read_text(raw: bytes) -> str:
    """Decode an unstructured field, such as Subject."""
    return clean_line(decode_words(unfold(raw_text(raw))))


def decode_words(text: str) -> str:
    """Decode the encoded words of a value (RFC 2047), also where a character is split over two of them."""
    if "=?" not in text:
        return text
    return "".join(_decoded_runs(text))


def _decoded_runs(text: str) -> Iterator[str]:
    run, charset, position = bytearray(), "", 0
    for word in _WORD.finditer(text):
        between = text[position : word.start()]
        adjacent = bool(position) and not between.strip()  # the space between two encoded words is not shown
        if run and not (adjacent and word[1].lower() == charset):
            yield decode(bytes(run), charset)[0]
            run.clear()
        if not adjacent:
            yield between
        charset = word[1].lower()
        run += _word_bytes(word[2], word[3])
        position = word.end()
    if run:
        yield decode(bytes(run), charset)[0]
    yield text[position:]


def _word_bytes(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    return decode_base64(raw)[0]


def read_message_id(raw: bytes) -> str | None:
    """Read a Message-ID without its brackets; an odd one is kept as it was (None if there is nothing in it)."""
    text = clean(unfold(raw_text(raw)))
    found = _ID.search(text)
    return (found[1] if found else text.strip("<>")).strip() or None


def read_ids(raw: bytes) -> tuple[str, ...]:
    """Read the ids in angle brackets of In-Reply-To or References: the last 32, each once, in order."""
    text = clean(unfold(raw_text(raw)))
    ids = (found.strip() for found in _ID.findall(text))
    return tuple(dict.fromkeys(found for found in ids if found))[-_MOST_IDS:]


def read_date(raw: bytes) -> datetime | None:
    """Read a date; None for text that is no date, or a date that Python cannot hold."""
    try:
        date = parsedate_to_datetime(unfold(raw_text(raw))[:200])
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        return None
    return date


def read_parameters(raw: bytes) -> tuple[str, dict[str, str]]:
    """Read a field such as Content-Type: its value in lower case, and its parameters by lower-case name (RFC 2231)."""
    text = unfold(raw_text(raw))[:_MOST_PARAMETER_TEXT]
    value, semicolon, _ = text.partition(";")
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for found in _PARAMETER.finditer(text) if semicolon else ():
        name = found[1].lower()
        content = unescape(found[2]) if found[2] is not None else found[3].strip(' \t"')
        if "*" in name and (continued := _CONTINUED.fullmatch(name)):
            number = int(continued[2] or 0)
            encoded = continued[2] is None or continued[3] is not None
            pieces.setdefault(continued[1], {}).setdefault(number, (content, encoded))
        else:
            plain.setdefault(name, decode_words(content))
    for name, numbered in pieces.items():
        plain[name] = _joined([numbered[number] for number in sorted(numbered)])
    return value.partition("(")[0].strip().lower(), plain


def _joined(pieces: list[tuple[str, bool]]) -> str:
    charset = None
    joined = bytearray()
    for index, (content, encoded) in enumerate(pieces):
        if not encoded:
            joined += content.encode("utf-8", "replace")
            continue
        text = content
        if index == 0 and content.count("'") >= 2:
            charset, _, text = content.split("'", 2)
        joined += _unpercent(text)
    return decode(bytes(joined), charset or None)[0]


def _unpercent(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    return _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), raw)
