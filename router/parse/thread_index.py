"""Thread-Index: the header by which Exchange and Outlook keep a conversation together (MS-OXOMSG §2.2.1.3).

It is base64 of 22 bytes, of which the last 16 are a GUID that all mail of a conversation shares, and 5 bytes more for
each answer: the index of an answer begins with that of the mail that it answers.
"""

import binascii
from typing import Final

from router.parse.headers import raw_text

_HEADER: Final = 22  # bytes
_LEVEL: Final = 5
_MOST_LEVELS: Final = 200


def read_thread_index(raw: bytes) -> str:
    """Read a Thread-Index, in hexadecimal; empty for what is none."""
    try:
        index = binascii.a2b_base64("".join(raw_text(raw).split()), strict_mode=True)
    except ValueError:  # binascii.Error is one
        return ""
    levels, rest = divmod(len(index) - _HEADER, _LEVEL)
    if index[:1] != b"\x01" or rest or not 0 <= levels <= _MOST_LEVELS:
        return ""
    return index.hex()
