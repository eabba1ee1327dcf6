"""The cursor of a maildrop: which messages of those that are there lie behind it, as short hashes of their ids.

10,000 messages left on a server make 80 kB; by 48 bits each, that a new one passes for one of these happens once in
28,000 million.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable

from transports.base import Cursor
from transports.errors import CursorLost

_PREFIX = "uidl:"
_BYTES = 6


def mark(id_: str) -> bytes:
    """Return the hash that stands for an id."""
    return hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()


def cursor(marks: Iterable[bytes]) -> Cursor:
    """Write a cursor, the same for the same set."""
    return Cursor(_PREFIX + base64.b64encode(b"".join(sorted(marks))).decode())


def marks_of(written: Cursor | None) -> frozenset[bytes]:
    """Read a cursor. Raises CursorLost for what is none of ours."""
    if written is None:
        return frozenset()
    try:
        packed = base64.b64decode(written.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        packed = b"?"
    if not written.startswith(_PREFIX) or len(packed) % _BYTES:
        raise CursorLost("what was noted of the mailbox is not what a POP3 mailbox has: it is read again")
    return frozenset(packed[start : start + _BYTES] for start in range(0, len(packed), _BYTES))
