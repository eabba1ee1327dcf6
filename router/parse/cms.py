"""What a signed S/MIME message holds, where the signature is around it (CMS SignedData, RFC 5652 §5): no key is needed.

Ours: asn1crypto, which reads it too, calls itself once for each level of nesting, and its last release is of 2022. Here
each byte is looked at once, and nothing is built but the content. Whether the signature is good, nobody checks here.
"""

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_DEEPEST = 16  # constructed strings within each other
_MOST_PIECES = 1_000_000  # of a content that is written in pieces, mostly of 1,000 bytes
_SEQUENCE, _OBJECT_ID, _OCTETS, _PIECES, _EXPLICIT, _END = 0x30, 0x06, 0x04, 0x24, 0xA0, 0x00


def is_signed_data(content: bytes) -> bool:
    """Whether it says of itself that it is signed, and not encrypted."""
    return _SIGNED_DATA in content[:64]


def signed_content(content: bytes) -> bytes | None:
    """Take what was signed out of CMS SignedData in BER or DER; None if it is none, is broken, or has no content."""
    try:
        return _content(content)
    except (IndexError, ValueError):
        return None


def _content(raw: bytes) -> bytes | None:
    # ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, content [0] EXPLICIT SignedData }
    position = _inside(raw, 0, _SEQUENCE)
    start, end = _span(raw, position, _OBJECT_ID)
    if raw[start:end] != _SIGNED_DATA:
        return None
    position = _inside(raw, _inside(raw, end, _EXPLICIT), _SEQUENCE)
    # SignedData ::= SEQUENCE { version, digestAlgorithms, encapContentInfo }
    # encapContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, content [0] EXPLICIT OCTET STRING }
    position = _after(raw, _after(raw, position))
    position = _after(raw, _inside(raw, position, _SEQUENCE))
    return _octets(raw, _inside(raw, position, _EXPLICIT))


def _head(raw: bytes, position: int) -> tuple[int, int, int | None]:
    """Read a tag and a length. Returns the tag, where the content begins, and its length; None: up to an end mark."""
    tag, first = raw[position], raw[position + 1]
    if first < 0x80:
        return tag, position + 2, first
    if first == 0x80:
        return tag, position + 2, None
    size = first & 0x7F
    length = int.from_bytes(raw[position + 2 : position + 2 + size])
    if size > 8 or position + 2 + size + length > len(raw):
        raise ValueError("it is longer than the message")
    return tag, position + 2 + size, length


def _inside(raw: bytes, position: int, wanted: int) -> int:
    tag, start, _ = _head(raw, position)
    if tag != wanted:
        raise ValueError("something else was expected")
    return start


def _span(raw: bytes, position: int, wanted: int) -> tuple[int, int]:
    start = _inside(raw, position, wanted)
    length = _head(raw, position)[2]
    if length is None:
        raise ValueError("its length is not said")
    return start, start + length


def _after(raw: bytes, position: int) -> int:
    """Step over a value of known length, or over one that an end mark ends."""
    depth = 0
    while True:
        tag, start, length = _head(raw, position)
        if length is None:
            depth += 1
            position = start
        else:
            position = start + length
            depth -= tag == _END and length == 0 and depth > 0
        if depth == 0:
            return position


def _octets(raw: bytes, position: int) -> bytes:
    """Read an octet string, which may be written in pieces, and those in pieces."""
    pieces: list[bytes] = []
    ends: list[int | None] = []  # of the strings that the position is in; None: up to an end mark
    for _ in range(_MOST_PIECES):
        tag, start, length = _head(raw, position)
        if tag == _OCTETS and length is not None:
            pieces.append(raw[start : start + length])
            position = start + length
        elif tag == _PIECES and len(ends) < _DEEPEST:
            ends.append(None if length is None else start + length)
            position = start
        elif tag == _END and ends and ends[-1] is None:
            ends.pop()
            position = start
        else:
            raise ValueError("no octet string")
        while ends and ends[-1] is not None and position >= ends[-1]:
            ends.pop()
        if not ends:
            return b"".join(pieces)
    raise ValueError("too many pieces")
