"""Transfer encodings: what the bytes of a part stand for, and what can be decoded of broken ones (RFC 2045 §6)."""

import binascii

import pybase64

from router.pipeline.bodies import take_uuencoded

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NO_LETTERS = bytes(set(range(256)) - set(_LETTERS))


def decode_body(body: memoryview, encoding: str, *, is_text: bool) -> tuple[bytes, str | None]:
    """Decode a body by the name of its encoding, in lower case; also what was wrong with it."""
    match encoding:
        case "" | "7bit" | "8bit" | "binary":
            return bytes(body), None
        case "quoted-printable":
            return binascii.a2b_qp(body), None
        case "base64":
            raw = bytes(body)
            if is_text and 20 * raw.count(b" ") > len(raw):
                return raw, "is no base64, but has words: it was kept as it came"
            content, whole = decode_base64(raw)
            return content, None if whole else "is broken base64: what could be decoded of it was kept"
        case "x-uuencode" | "x-uue" | "uuencode":
            files = take_uuencoded(str(body, "latin-1").replace("\r\n", "\n"))[1]
            return files[0][1] if files else bytes(body), None
        case _:
            return bytes(body), "has an unknown transfer encoding: it was kept as it came"


def decode_base64(raw: bytes) -> tuple[bytes, bool]:
    """Decode what can be decoded of base64; also whether all of it could."""
    try:
        # Five times as fast as binascii, which is what most of a large message's time goes into.
        return pybase64.b64decode(raw.translate(None, b" \t\r\n"), validate=True), True
    except binascii.Error:
        pass
    try:
        return binascii.a2b_base64(raw), False  # what follows the padding, a list's footer say, is left out
    except binascii.Error:
        letters = raw.translate(None, _NO_LETTERS)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]  # a lone last letter holds less than a byte
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)), False
