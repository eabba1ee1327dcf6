"""The parts of a message (RFC 2046), found by their boundaries: bounded in number and depth, and never recursive.

The stdlib's parser goes line by line, needs 10 s for 200,000 empty parts, and raises RecursionError on deep nesting.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from router.pipeline.headers import Fields, read_fields, read_parameters

_MOST_PARTS = 1_000
_DEEPEST = 50


@dataclass(slots=True)
class Part:
    """One part: its raw header fields, its media type and parameters, and its body, still encoded."""

    fields: Fields
    body: bytes
    media_type: str
    parameters: dict[str, str]
    defects: list[str] = field(default_factory=list)


def read_part(raw: bytes, default_type: str = "text/plain") -> Part:
    """Read one part, headers and body; its own parts, if it has any, stay in the body."""
    fields, start, defects = read_fields(raw)
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
    while waiting:
        part, depth = waiting.pop()
        if not part.media_type.startswith("multipart/"):
            yield part
            continue
        pieces, defects = _split(part)
        room = _MOST_PARTS - count
        if depth >= _DEEPEST:
            pieces, defects = [], [f"parts are nested deeper than {_DEEPEST}: not taken apart"]
        elif len(pieces) > room:
            pieces, defects = pieces[:room], [f"more than {_MOST_PARTS} parts: the rest was left out"]
        if not pieces:
            yield Part(part.fields, part.body, "text/plain" if depth == 0 else "application/octet-stream", {}, defects)
            continue
        count += len(pieces)
        default = "message/rfc822" if part.media_type == "multipart/digest" else "text/plain"
        children = [read_part(piece, default) for piece in pieces]
        children[0].defects[:0] = [*part.defects, *defects]
        waiting += [(child, depth + 1) for child in reversed(children)]


def _split(part: Part) -> tuple[list[bytes], list[str]]:
    """Cut a multipart's body at its boundary; at most one piece more than may be used."""
    boundary = part.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")
    if not boundary:
        return [], ["a multipart names no boundary"]
    body, line = part.body, b"--" + boundary
    pieces: list[bytes] = []
    start: int | None = None
    position = 0
    while len(pieces) <= _MOST_PARTS and (found := body.find(line, position)) >= 0:
        position = found + len(line)
        if found and body[found - 1] != 10:
            continue
        end = body.find(b"\n", position) + 1 or len(body)
        rest = body[position:end].strip() if end - position < 1_000 else b"too long"
        if rest not in {b"", b"--"}:
            continue
        if start is not None:
            pieces.append(body[start : max(start, _before_break(body, found))])
            if not pieces[-1]:
                pieces.pop()  # two boundaries in a row
        if rest == b"--":
            return pieces, []
        start = position = end
    if start is None:
        return pieces, ["a multipart's boundary is not in it"]
    if len(pieces) <= _MOST_PARTS:
        pieces.append(body[start:])
    return pieces, ["a multipart has no end"]


def _before_break(body: bytes, position: int) -> int:
    """Step back over the line break that belongs to the boundary (RFC 2046 §5.1.1)."""
    if body[position - 2 : position] == b"\r\n":
        return position - 2
    return position - 1
