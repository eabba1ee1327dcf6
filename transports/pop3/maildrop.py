"""What lies in a maildrop, as one session sees it: each message by an id that lasts (UIDL, RFC 1939 §7)."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from transports.pop3.contents import heads
from transports.pop3.reply import Refused
from transports.pop3.wire import Wire

_LONGEST_ID = 200
_LINE = re.compile(rb"(\d{1,10}) ++([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Maildrop:
    """Message numbers by id, in the order of the maildrop, and the size of each in bytes.

    Identical copies may share an id, and so lie under several numbers.
    """

    numbers: Mapping[str, Sequence[int]]
    sizes: Mapping[int, int]


def look(wire: Wire, *, without_uidl: bool) -> Maildrop:
    """See what is there. Where the server knows no UIDL, and that is put up with, headers identify messages.

    So they do where an id is none, or that of several messages, which some servers have; of those, what the server does
    not give up now is left out, as it cannot be told from others. Raises Refused.
    """
    sizes = {number: int(size) for number, size in _pairs(wire.lines("LIST")) if size.isdigit()}
    try:
        told = {number: _text(uidl) for number, uidl in _pairs(wire.lines("UIDL"))}
    except Refused as refused:
        if refused.passing:
            raise
        if not without_uidl:
            words = f'it does not know UIDL, and without it only after = "delete" can be done: {refused}'
            raise Refused(words) from None
        told = {}
    shared: dict[str, list[int]] = defaultdict(list)
    for number in sizes:
        shared[told.get(number, "")].append(number)
    ids = {numbers[0]: uidl for uidl, numbers in shared.items() if uidl and len(numbers) == 1}
    doubtful = [number for number in sizes if number not in ids]
    for number, head in zip(doubtful, heads(wire, doubtful), strict=True):
        if isinstance(head, bytes):
            digest = hashlib.sha256(b"%d %s" % (sizes[number], head)).hexdigest()[:32]
            ids[number] = f"{told.get(number, '')}#{digest}"
    numbers: dict[str, list[int]] = defaultdict(list)
    for number in sizes:
        if number in ids:
            numbers[ids[number]].append(number)
    return Maildrop(numbers, sizes)


def _pairs(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for line in lines:
        if pair := _LINE.fullmatch(line):
            yield int(pair[1]), pair[2].strip()


def _text(uidl: bytes) -> str:
    """Make any bytes an id that a database can hold; RFC 1939 allows 70 printable characters."""
    if len(uidl) > _LONGEST_ID:
        return hashlib.sha256(uidl).hexdigest()
    return uidl.replace(b"\0", b"\\0").decode("ascii", "backslashreplace")
