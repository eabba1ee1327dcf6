"""Transfer encodings (RFC 2045 §6): decodes the body of a part, and of a broken one as much as possible."""

import binascii

import pybase64

from router.parse.bodies import take_uuencoded

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SAMPLE = 10_000
_LONGEST_UU = 10_000_000  # bytes: each line is read on its own, in a microsecond or two
_NO_LETTERS = bytes(set(range(256)) - set(_LETTERS))


def decode_body(body: memoryview, encoding: str, *, is_text: bool) -> tuple[bytes, str | None]:
    """Decode a body by the name of its encoding, in lower case; also what was wrong with it."""
    defect = None
    match encoding:
        case "" | "7bit" | "8bit" | "binary":
            pass
        case "quoted-printable":
            return binascii.a2b_qp(body), None
        case "base64" if is_text and _has_words(bytes(body[:_SAMPLE])):
            defect = "is no base64, but has words: it was kept as it came"
        case "base64":
            content, whole = decode_base64(body)
            return content, None if whole else "is broken base64: what could be decoded of it was kept"
        case "x-uuencode" | "x-uue" | "uuencode" if len(body) > _LONGEST_UU:
            defect = f"is uuencoded and longer than {_LONGEST_UU:,} bytes: it was kept as it came"
        case "x-uuencode" | "x-uue" | "uuencode":
            if files := take_uuencoded(str(body, "latin-1").replace("\r\n", "\n"))[1]:
                return files[0][1], None
        case _:
            defect = "has an unknown transfer encoding: it was kept as it came"
    return bytes(body), defect


def _has_words(sample: bytes) -> bool:
    return 20 * sample.count(b" ") > len(sample)


def decode_base64(raw: bytes | memoryview) -> tuple[bytes, bool]:
    """Decode what can be decoded of base64; also whether all of it could."""
    try:
        # Several times as fast as binascii, in which a large message's time was spent.
        return pybase64.b64decode(bytes(raw).translate(None, b" \t\r\n"), validate=True), True
    except binascii.Error:
        pass
    try:
        return binascii.a2b_base64(raw), False  # what follows the padding, a list's footer say, is left out
    except binascii.Error:
        letters = bytes(raw).translate(None, _NO_LETTERS)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]  # a lone last letter holds less than a byte
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)), False
