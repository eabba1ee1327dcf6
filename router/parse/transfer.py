"""Transfer encodings (RFC 2045 §6): decodes the body of a part, and of a broken one as much as possible."""

import binascii
import re

import pybase64

from router.parse.bodies import take_uuencoded

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SAMPLE = 10_000
_LEAST_LETTERS = 10  # different ones in a line of base64; fewer are a line that is drawn
UNNAMED = "is base64 without saying so: it was decoded"
"""The defect of a body that was decoded although its header names no encoding, or another."""

_LONGEST_UNNAMED = 20_000_000  # bytes
_LONGEST_UU = 10_000_000  # bytes: each line is read on its own, in a microsecond or two
_LINES = re.compile(rb"[\r\n]*+(?:[A-Za-z0-9+/]{56,76}\r?\n)++(?:[A-Za-z0-9+/]{2,76}+={0,2}+)?+\s*+")
_ONE_LINE = re.compile(rb"\s*+([A-Za-z0-9+/]{16,76}+={0,2}+)\s*+")
_NO_LETTERS = bytes(set(range(256)) - set(_LETTERS))


def decode_body(body: memoryview, encoding: str, *, is_text: bool) -> tuple[bytes, str | None]:
    """Decode a body by the name of its encoding, in lower case; also what was wrong with it."""
    defect = None
    if is_text and encoding != "base64" and (hidden := _unnamed_base64(body)) is not None:
        return hidden, UNNAMED
    match encoding:
        case "" | "7bit" | "8bit" | "binary":
            pass
        case "quoted-printable":
            return binascii.a2b_qp(body), None
        case "base64" if is_text and _has_words(bytes(body[:_SAMPLE])):
            defect = "says that it is base64, but is plain text: it was kept as it came"
        case "base64":
            content, whole = decode_base64(body)
            return content, None if whole else "is damaged (base64): what could be read of it was kept"
        case "x-uuencode" | "x-uue" | "uuencode" if len(body) > _LONGEST_UU:
            defect = f"is uuencoded and longer than {_LONGEST_UU:,} bytes: it was kept as it came"
        case "x-uuencode" | "x-uue" | "uuencode":
            if files := take_uuencoded(str(body, "latin-1").replace("\r\n", "\n"))[1]:
                return files[0][1], None
        case _:
            defect = "is in an encoding that is not known: it was kept as it came"
    return bytes(body), defect


def _unnamed_base64(body: memoryview) -> bytes | None:
    """Decode the base64 of a body that does not say that it is base64; None for any other body.

    No person writes lines of one length without a space. A lone line must hold words.
    """
    sample = bytes(body[:_SAMPLE]).strip()
    if not sample or b" " in sample or len(body) > _LONGEST_UNNAMED:
        return None
    beginning = sample.split()
    length = len(beginning[0])
    if len(beginning) > 1 and length % 4 == 0 and len(set(beginning[0])) >= _LEAST_LETTERS and _LINES.fullmatch(body):
        content, whole = decode_base64(body)
        return content if whole and all(len(line) == length for line in bytes(body).split()[:-1]) else None
    if (line := _ONE_LINE.fullmatch(body)) and len(line[1]) % 4 == 0:
        content, whole = decode_base64(line[1])
        return content if whole and b" " in content and is_plain_text(content) else None
    return None


def is_plain_text(content: bytes) -> bool:
    """Whether bytes are UTF-8 without control characters but those that lay out a text."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(text) is None


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
