"""The boundary that a body really has, for a header that gives a wrong one or none."""

import re
from collections.abc import Iterator

_MOST_LINES = 20_000  # that begin with dashes
_MOST_NAMES = 1_000
_LONGEST = 200  # RFC 2046 allows 70
_CONTENT_FIELD = re.compile(rb"content-[a-z-]{1,40}[ \t]{0,20}:", re.IGNORECASE)
_DASHES_ONLY = re.compile(rb"-*")


def find_boundary(raw: bytes, start: int, end: int) -> bytes | None:
    """Find the boundary of the multipart in `raw[start:end]`, without its two dashes; None if there is none.

    A boundary is a line of two dashes and a name, with headers of a part below it; or one that is closed further down.
    """
    seen: dict[bytes, None] = {}
    for name, after in _names(raw, start, end):
        folded = raw.startswith((b" ", b"\t"), after)  # a program folded the boundary itself, like a header
        below = raw.find(b"\n", after, min(end, after + _LONGEST)) + 1 if folded else after
        if _CONTENT_FIELD.match(raw, below, end):
            return name
        if name.endswith(b"--") and name[:-2] in seen:
            return name[:-2]
        if len(seen) < _MOST_NAMES:
            seen[name] = None
    return None


def begins_with_parts(raw: bytes, start: int, end: int) -> bool:
    """Whether what has no Content-Type begins with a part of a multipart all the same, and its boundary comes again."""
    first = next(_names(raw, start, end), None)
    if first is None or not _CONTENT_FIELD.match(raw, first[1], end):
        return False
    name, after = first
    return not raw[start:after].split(b"--", 1)[0].strip() and raw.find(b"\n--" + name, after - 1, end) >= 0


def _names(raw: bytes, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield what stands behind two dashes at the beginning of a line, and where the next line begins."""
    found = start if raw.startswith(b"--", start, end) else raw.find(b"\n--", start, end) + 1
    for _ in range(_MOST_LINES):
        if not found:
            return
        after = raw.find(b"\n", found, end) + 1 or end
        if after - found <= _LONGEST:
            name = raw[found + 2 : after].rstrip()
            if name and not name.startswith(b" ") and not _DASHES_ONLY.fullmatch(name):
                yield name, after
        found = raw.find(b"\n--", after - 1, end) + 1
