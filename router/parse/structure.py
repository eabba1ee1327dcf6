"""The parts of a message (RFC 2046), found by their boundaries: bounded in number and depth, and never recursive.

The stdlib's parser goes line by line, needs 10 s for 200,000 empty parts, and raises RecursionError on deep nesting.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from router.parse.boundary import begins_with_parts, find_boundary
from router.parse.headers import MOST_HEADER_BYTES, Fields, read_fields, read_parameters

_MOST_PARTS = 1_000
_DEEPEST = 50
_MOST_PART_HEADER_BYTES = 65_536  # of one part
_MOST_HEADER_BYTES = 2_000_000  # of all parts together
_MOST_SEARCHED = 500_000_000  # bytes, those of a part within a part counted again: about a second's work
_MOST_BOUNDARIES = 20_000  # lines that begin like a boundary, whether they are one or not
_MOST_BLANK = 10_000  # bytes that are looked at for a text below the last part
_LATE = "parts come after the end of its parts: they were kept"
_NO_BOUNDARY = "its header does not name the boundary between its parts"
_SHOWN = frozenset({"multipart/mixed", "multipart/alternative"})  # whose parts after the first are shown, too


@dataclass(slots=True)
class Part:
    """One part: its raw header fields, its media type and parameters, and where in `raw` its body is, still encoded."""

    fields: Fields
    media_type: str
    parameters: dict[str, str]
    raw: bytes  # the whole message's: what is large is not copied for each part
    start: int
    end: int
    defects: list[str] = field(default_factory=list)
    shown: bool = True  # by itself; what a multipart/related holds besides its first part is only used by that
    branches: tuple[tuple[int, int], ...] = ()  # which multipart/alternative it is in, and in which part of that

    @property
    def body(self) -> memoryview:
        """Its body, as it lies in the message."""
        return memoryview(self.raw)[self.start : self.end]


def read_part(
    raw: bytes, start: int = 0, end: int | None = None, default_type: str = "text/plain", most: int = MOST_HEADER_BYTES
) -> Part:
    """Read the part `raw[start:end]`, so many bytes of its headers at most; its own parts stay in its body."""
    end = len(raw) if end is None else end
    fields, body, defects = read_fields(raw, start, end, most)
    media_type = default_type
    parameters: dict[str, str] = {}
    if values := fields.get("content-type"):
        media_type, parameters = read_parameters(values[0])
        media_type = media_type.strip("<>\"' ").partition(" ")[0]  # a semicolon before the boundary was forgotten
        if (
            media_type.count("/") != 1
            or len(media_type) > 127
            or not media_type.isascii()
            or not media_type.isprintable()
        ):
            defects.append("a Content-Type could not be read: it was taken for plain text")
            media_type = "text/plain"
    elif media_type == "text/plain" and begins_with_parts(raw, body, end):
        media_type = "multipart/mixed"
    return Part(fields, media_type, parameters, raw, body, end, defects)


def leaves(root: Part) -> Iterator[Part]:
    """Yield the parts that hold content, in order. The first leaf of a container has the defects of the container."""
    waiting = [(root, 0)]
    count = 0
    header_bytes = _MOST_HEADER_BYTES
    searched = 0
    while waiting:
        part, depth = waiting.pop()
        if not part.media_type.startswith("multipart/"):
            yield part
            continue
        searched += part.end - part.start
        room = _MOST_PARTS - count
        pieces, defects = _split(part) if depth < _DEEPEST and searched <= _MOST_SEARCHED else ([], [])
        if depth >= _DEEPEST:
            defects = [f"parts lie in more than {_DEEPEST} others: they were not taken apart"]
        elif searched > _MOST_SEARCHED:
            defects = ["parts are too large for how many others they lie in: they were not taken apart"]
        elif len(pieces) > room:
            pieces, defects = pieces[:room], [f"more than {_MOST_PARTS} parts: the rest was left out"]
        if not pieces:
            media_type = "text/plain" if depth == 0 else "application/octet-stream"
            yield Part(part.fields, media_type, {}, part.raw, part.start, part.end, defects)
            continue
        count += len(pieces)
        default = "message/rfc822" if part.media_type == "multipart/digest" else "text/plain"
        children = []
        for number, (start, end) in enumerate(pieces):
            child = read_part(part.raw, start, end, default, min(header_bytes, _MOST_PART_HEADER_BYTES))
            child.shown = part.shown and (number == 0 or part.media_type in _SHOWN)
            is_branch = part.media_type == "multipart/alternative"
            child.branches = (*part.branches, (part.start, number)) if is_branch else part.branches
            header_bytes = max(0, header_bytes - (child.start - start))
            children.append(child)
        children[0].defects[:0] = [*part.defects, *defects]
        waiting += [(child, depth + 1) for child in reversed(children)]


def _split(part: Part) -> tuple[list[tuple[int, int]], list[str]]:
    """Find where the pieces of a multipart's body start and end; at most one piece more than the limit."""
    named = part.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")
    if named and (found := _pieces(part, named)):
        return found
    boundary = find_boundary(part.raw, part.start, part.end)
    found = _pieces(part, boundary) if boundary else None
    if not found:
        return [], ["its header says that it has parts, but none can be found in it" if named else _NO_BOUNDARY]
    pieces, defects = found
    return pieces, ["its header names another boundary than its parts have" if named else _NO_BOUNDARY, *defects]


def _pieces(part: Part, boundary: bytes) -> tuple[list[tuple[int, int]], list[str]] | None:
    """Cut at a boundary; None if it is not there. Parts below the one that closes the multipart are kept, too."""
    pieces, closed, late = _cut(part, boundary)
    if closed is None:
        return (pieces, ["the last of its parts has no end"]) if pieces else None
    if not late and part.raw[closed : min(part.end, closed + _MOST_BLANK)].strip():
        other = find_boundary(part.raw, closed, part.end)
        more = _cut(replace(part, start=closed), other)[0] if other else []
        if not more:
            return pieces, ["a text below the last of its parts is not shown"]
        pieces, late = pieces + more, True
    return pieces, [_LATE] if late else []


def _cut(part: Part, boundary: bytes) -> tuple[list[tuple[int, int]], int | None, bool]:
    """Cut at a boundary. Also says where the multipart was closed, if it was, and whether parts came after that."""
    pieces: list[tuple[int, int]] = []
    start: int | None = None
    closed: int | None = None
    late = False
    for found, end, last in _boundaries(part, b"--" + boundary):
        if start is not None and (before := _before_break(part.raw, found)) > start:
            pieces.append((start, before))
        if len(pieces) > _MOST_PARTS:
            break
        late = late or (closed is not None and not last)
        start = None if last else end
        closed = end if last else closed
    if start is not None and len(pieces) <= _MOST_PARTS:
        pieces.append((start, part.end))
    return pieces, closed, late


def _boundaries(part: Part, line: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield where each boundary's line begins and ends, and whether it closes the multipart."""
    raw, last = part.raw, part.end
    found = part.start if raw.startswith(line, part.start, last) else raw.find(b"\n" + line, part.start, last) + 1 or -1
    for _ in range(_MOST_BOUNDARIES):
        if found < 0:
            return
        end = raw.find(b"\n", found, last) + 1 or last
        rest = raw[found + len(line) : end].strip() if end - found - len(line) < 1_000 else b"too long"
        if rest in {b"", b"--"}:
            yield found, end, rest == b"--"
        found = raw.find(b"\n" + line, end - 1, last) + 1 or -1


def _before_break(raw: bytes, position: int) -> int:
    """Step back over the line break that belongs to the boundary (RFC 2046 §5.1.1)."""
    if raw[position - 2 : position] == b"\r\n":
        return position - 2
    return position - 1
