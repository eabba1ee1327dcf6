"""What people write, as headers take it: words beyond ASCII encoded (RFC 2047, 2231), lines folded at 76 characters."""

import binascii
import re
import unicodedata
from collections.abc import Iterable, Iterator

from router.errors import ContentRefused

LINE = 76
"""Characters of a line with encoded words, at most (RFC 2047 §2)."""

LONGEST_WORD = 66
"""Characters of a word that stands on any line, also behind the longest of our headers' names, "Reply-To: "."""

_WORD_BYTES = 39  # 12 + 52 characters: an encoded word must stand behind any name, too
_FILENAME = 60
_EXTENSION = 12

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")
_PLAIN_WORD = re.compile(r"[!-~]{1,66}")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_PLAIN_FILENAME = re.compile(r"[ !#-:<-\[\]-~]{1,59}")  # not every library can read a quote, or a semicolon, in quotes
_ATTRIBUTE = re.compile(rb"[A-Za-z0-9!#$&+.^_`{|}~-]")
_NOT_IN_A_FALLBACK = re.compile(r"[^ !#-\[\]-~]|=(?=\?)")


def one_line(text: str) -> str:
    """Put what a person typed into one line: a line break, or a tab, is a space."""
    if not text.isprintable():
        text = _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text))
    return text.strip()


def refuse_controls(text: str, what: str) -> str:
    """Return what the CRM's program set, as it is. Raises ContentRefused if it has characters that no header can."""
    if (found := _CONTROLS.search(text) or _SURROGATES.search(text)) is not None:
        raise ContentRefused(f"its {what} has a control character: {found[0][:1]!a}")
    return text


def words(text: str) -> list[str]:
    """Cut one line into words, each to stand on a line of its own if need be, encoded where that is needed."""
    if not text:
        return []
    pieces = text.split(" ")
    if _PLAIN.fullmatch(text) and "=?" not in text and max(map(len, pieces)) <= LONGEST_WORD:
        return pieces
    is_plain = [_PLAIN_WORD.fullmatch(piece) is not None and "=?" not in piece for piece in pieces]
    for at, piece in enumerate(pieces):
        if not piece:  # of several spaces all but one would be lost at a fold
            is_plain[max(at - 1, 0)] = False
    written: list[str] = []
    encoded: list[str] = []
    for piece, plain in zip(pieces, is_plain, strict=True):
        if not plain:
            encoded.append(piece)
            continue
        if encoded:
            written += encoded_words(" ".join(encoded))
            encoded = []
        written.append(piece)
    if encoded:
        written += encoded_words(" ".join(encoded))
    return written


def phrase(name: str) -> list[str]:
    """Cut the name of an address into words: atoms, a quoted string, or encoded words (RFC 5322 §3.2.5)."""
    name = one_line(name)
    if "=?" not in name:
        if _ATOMS.fullmatch(name) and max(map(len, pieces := name.split(" "))) <= LONGEST_WORD:
            return pieces
        if _PLAIN.fullmatch(name) and len(whole := quoted(name)) <= LONGEST_WORD:
            return [whole]
    return list(encoded_words(name)) if name else []


def quoted(text: str) -> str:
    """Write a quoted string (RFC 5322 §3.2.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def encoded_words(text: str) -> Iterator[str]:
    """Write a text as encoded words, split at a space where there is one, never inside a character.

    The space helps readers that put one between the words of a name, as Python's do.
    """
    start = 0
    while start < len(text):
        piece = text[start : start + _WORD_BYTES]
        fitting = len(piece.encode("utf-8")[:_WORD_BYTES].decode("utf-8", "ignore"))
        if start + fitting < len(text):
            fitting = piece.rfind(" ", 1, fitting) + 1 or fitting
        yield _encoded_word(piece[:fitting].encode("utf-8"))
        start += fitting


def _encoded_word(piece: bytes) -> str:
    return f"=?utf-8?b?{binascii.b2a_base64(piece, newline=False).decode('ascii')}?="


def folded(name: str, pieces: Iterable[str]) -> str:
    """Join pieces by spaces, and fold before one that would make the line longer than 76."""
    lines = [f"{name}:"]
    for number, piece in enumerate(pieces):
        if number and len(lines[-1]) + 1 + len(piece) > LINE:
            lines.append("")
        lines[-1] += " " + piece
    return "\r\n".join(lines)


def filename_parameters(name: str) -> tuple[str, str]:
    """Write a file name as parameters of Content-Type and of Content-Disposition.

    Beyond ASCII, when long, or with a quote or semicolon, it is written by RFC 2231, and as plain as it can be in
    Content-Type, for those who do not know that. A plain one in Content-Disposition would be what many of those take
    that know both.
    """
    name = one_line(name)
    if not name:
        return "", ""
    if _PLAIN_FILENAME.fullmatch(name) and "=?" not in name:
        return "", f';\r\n filename="{name}"'
    pieces = [""]
    for byte in name.encode("utf-8"):
        letter = chr(byte) if _ATTRIBUTE.fullmatch(bytes([byte])) else f"%{byte:02X}"
        if len(pieces[-1]) + len(letter) > 55:
            pieces.append("")
        pieces[-1] += letter
    fallback = f';\r\n name="{_fallback(name)}"'
    if len(pieces) == 1:
        return fallback, f";\r\n filename*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return fallback, "".join(f";\r\n filename*{number}*={piece}" for number, piece in enumerate(pieces))


def _fallback(name: str) -> str:
    """Write a file name in ASCII, short and without what needs an escape; its extension stays."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    plain = _NOT_IN_A_FALLBACK.sub("_", plain)
    if len(plain) < _FILENAME:
        return plain
    stem, dot, extension = plain.rpartition(".")
    if not dot or len(extension) > _EXTENSION:
        return plain[:_FILENAME]
    return stem[: _FILENAME - len(extension) - 1] + dot + extension
