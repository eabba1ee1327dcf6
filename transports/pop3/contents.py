"""Reading messages, whole or their headers only, without marking them where the server lets us (RFC 1939 §7, TOP)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from transports.pop3.reply import Refused
from transports.pop3.wire import Wire

_ALL_LINES = 99_999_999
_RECEIVED = re.compile(rb"^Received:((?:[^\n]*\n[ \t])*[^\n]*)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEAD = re.compile(rb"(?:\A|\n)\r?\n")


def heads(wire: Wire, numbers: Sequence[int]) -> Iterator[bytes | Refused]:
    """Read the header blocks, each with the empty line after it."""
    for content in wire.contents([_top(number, 0) if _tops(wire) else f"RETR {number}" for number in numbers]):
        yield content if isinstance(content, Refused) else _head_of(content)


def wholes(wire: Wire, sizes: Mapping[int, int]) -> Iterator[bytes | Refused]:
    """Read whole messages, given the size of each by its number.

    RETR marks a message as read for whoever reads it by IMAP (Dovecot), and may even delete it (EXPIRE 0, RFC 2449
    §6.7). TOP of all lines does neither; only what it does not give whole is had by RETR.
    """
    found: dict[int, bytes | Refused] = {}
    if _tops(wire):
        found = dict(zip(sizes, wire.contents([_top(number, _ALL_LINES) for number in sizes]), strict=True))
    short = [number for number, size in sizes.items() if not _is_whole(found.get(number), size)]
    found |= zip(short, wire.contents([f"RETR {number}" for number in short]), strict=True)
    return (_as_it_was(found.pop(number), size) for number, size in sizes.items())


def received_at(content: bytes) -> datetime | None:
    """Return when the server took a message, as it wrote into the topmost Received; POP3 itself does not tell."""
    topmost = _RECEIVED.search(_head_of(content))
    if topmost is None:
        return None
    try:
        at = parsedate_to_datetime(topmost[1].rpartition(b";")[2].decode("ascii", "replace").strip())
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at <= datetime.now(UTC) else None


def _tops(wire: Wire) -> bool:
    return "TOP" in wire.capabilities


def _top(number: int, lines: int) -> str:
    return f"TOP {number} {lines}"


def _is_whole(content: bytes | Refused | None, size: int) -> bool:
    return isinstance(content, bytes) and len(content) >= size


def _as_it_was(content: bytes | Refused, size: int) -> bytes | Refused:
    # What does not end with the end of a line is sent with one.
    if isinstance(content, bytes) and len(content) == size + 2:
        return content.removesuffix(b"\r\n")
    return content


def _head_of(content: bytes) -> bytes:
    end = _END_OF_HEAD.search(content)
    return content[: end.end()] if end else content
