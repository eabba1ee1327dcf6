"""Pictures that a page may show, told by their first bytes and never by what mail calls them.

Only rasters: what is SVG is a document, and may be nothing here. And none that would take a browser more memory than a
page: a few kilobytes can be told to be 65,535 pixels wide and as high.
"""

import re
from typing import Final

_MOST_PIXELS: Final = 50_000_000
_JPEG_SIZE = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def picture_type(head: bytes) -> str | None:
    """Name the media type of the picture that begins with these bytes; None: it is no picture, or too large to show."""
    kind, size = _read(head)
    return kind if size is not None and 0 < size[0] * size[1] <= _MOST_PIXELS else None


def _read(head: bytes) -> tuple[str, tuple[int, int] | None]:
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
        return "image/png", _two(head[16:24], 4, "big")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif", _two(head[6:10], 2, "little")
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", _jpeg(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp", _webp(head)
    return "", None


def _two(both: bytes, length: int, order: str) -> tuple[int, int] | None:
    if len(both) < 2 * length:
        return None
    first, second = both[:length], both[length : 2 * length]
    if order == "big":
        return int.from_bytes(first, "big"), int.from_bytes(second, "big")
    return int.from_bytes(first, "little"), int.from_bytes(second, "little")


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """Walk its segments to the one that says how large it is (ITU T.81, B.2.2)."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        if head[at + 1] == 0xFF:  # padding
            at += 1
        elif _JPEG_SIZE.match(head, at):
            return _two(head[at + 5 : at + 9], 2, "big")
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    """Read its first chunk (RFC 9649, 2.5 to 2.7)."""
    kind, data = head[12:16], head[20:]
    if len(data) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        size = _two(data[6:10], 2, "little")
        return (size[0] & 0x3FFF, size[1] & 0x3FFF) if size else None
    return None
