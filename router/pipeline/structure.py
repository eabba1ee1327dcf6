"""The parts of a message (RFC 2046), found by their boundaries: bounded in number and depth, and never recursive.

The stdlib's parser goes line by line, needs 10 s for 200,000 empty parts, and raises RecursionError on deep nesting.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from router.pipeline.headers import MOST_HEADER_BYTES, Fields, read_fields, read_parameters

_MOST_PARTS = 1_000
_DEEPEST = 50
_MOST_PART_HEADER_BYTES = 65_536  # of one part
_MOST_HEADER_BYTES = 2_000_000  # of all parts together
_MOST_SEARCHED = 500_000_000  # bytes, those of a part within a part counted again: about a second's work
_MOST_BOUNDARIES = 20_000  # lines that begin like a boundary, whether they are one or not


@dataclass(slots=True)
class Part:
    """One part: its raw header fields, its media type and parameters, and its body, still encoded."""

    fields: Fields
    body: bytes
    media_type: str
    parameters: dict[str, str]
    defects: list[str] = field(default_factory=list)


def read_part(raw: bytes, default_type: str = "text/plain", most: int = MOST_HEADER_BYTES) -> Part:
    """Read one part, headers (so many bytes at most) and body; its own parts, if it has any, stay in the body."""
    fields, start, defects = read_fields(raw, most)
    media_type = default_type
    parameters: dict[str, str] = {}
    if values := fields.get("content-type"):
        media_type, parameters = read_parameters(values[0])
        if (
            media_type.count("/") != 1
            or len(media_type) > 127
            or not media_type.isascii()
            or not media_type.isprintable()
        ):
            defects.append("a Content-Type could not be read")
            media_type = "text/plain"
    return Part(fields, raw[start:], media_type, parameters, defects)


def leaves(root: Part) -> Iterator[Part]:
    """Yield the parts that hold content, in order. What was wrong with a container is said by its first leaf."""
    waiting = [(root, 0)]
    count = 0
    header_bytes = _MOST_HEADER_BYTES
    searched = 0
    while waiting:
        part, depth = waiting.pop()
        if not part.media_type.startswith("multipart/"):
            yield part
            continue
        searched += len(part.body)
        room = _MOST_PARTS - count
        pieces, defects = _split(part) if depth < _DEEPEST and searched <= _MOST_SEARCHED else ([], [])
        if depth >= _DEEPEST:
            defects = [f"parts are nested deeper than {_DEEPEST}: not taken apart"]
        elif searched > _MOST_SEARCHED:
            defects = ["parts are too large for how deep they are nested: not taken apart"]
        elif len(pieces) > room:
            pieces, defects = pieces[:room], [f"more than {_MOST_PARTS} parts: the rest was left out"]
        if not pieces:
            yield Part(part.fields, part.body, "text/plain" if depth == 0 else "application/octet-stream", {}, defects)
            continue
        count += len(pieces)
        default = "message/rfc822" if part.media_type == "multipart/digest" else "text/plain"
        children = []
        for piece in pieces:
            child = read_part(piece, default, min(header_bytes, _MOST_PART_HEADER_BYTES))
            header_bytes = max(0, header_bytes - len(piece) + len(child.body))
            children.append(child)
        children[0].defects[:0] = [*part.defects, *defects]
        waiting += [(child, depth + 1) for child in reversed(children)]


def _split(part: Part) -> tuple[list[bytes], list[str]]:
    """Cut a multipart's body at its boundary; at most one piece more than may be used."""
    boundary = part.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")
    if not boundary:
        return [], ["a multipart names no boundary"]
    body = part.body
    pieces: list[bytes] = []
    start: int | None = None
    for found, end, last in _boundaries(body, b"--" + boundary):
        if start is not None and (before := _before_break(body, found)) > start:
            pieces.append(body[start:before])
        if last:
            return pieces, []
        if len(pieces) > _MOST_PARTS:
            return pieces, []
        start = end
    if start is None:
        return pieces, ["a multipart's boundary is not in it"]
    pieces.append(body[start:])
    return pieces, ["a multipart has no end"]


def _boundaries(body: bytes, line: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield where each boundary's line begins and ends, and whether it closes the multipart."""
    found = 0 if body.startswith(line) else body.find(b"\n" + line) + 1 or -1
    for _ in range(_MOST_BOUNDARIES):
        if found < 0:
            return
        end = body.find(b"\n", found) + 1 or len(body)
        rest = body[found + len(line) : end].strip() if end - found - len(line) < 1_000 else b"too long"
        if rest in {b"", b"--"}:
            yield found, end, rest == b"--"
        found = body.find(b"\n" + line, end - 1) + 1 or -1


def _before_break(body: bytes, position: int) -> int:
    """Step back over the line break that belongs to the boundary (RFC 2046 §5.1.1)."""
    if body[position - 2 : position] == b"\r\n":
        return position - 2
    return position - 1
