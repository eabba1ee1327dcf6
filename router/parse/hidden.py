"""What bytes say besides what stands in them plainly: in base64, quoted-printable, encoded words, UTF-16 and Latin-1.

For a search that must overlook nothing: it knows of no parts and no headers, so a message that is broken or lies about
itself hides nothing, nor does a piece that was cut out anywhere. What is compressed stays so: `packing_of` names it.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final

_DEEP: Final = 3  # such as a text in base64, in a message in base64, in quoted-printable
_SHORTEST: Final = 8  # letters of base64 that can hold an address
_SHORT: Final = 120  # letters: a long word of a text may be taken for base64, so these are looked into together

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{4,}+(?:[ \t]{0,4}+\r?\n[ \t]{0,4}+[A-Za-z0-9+/]++)*+")
_QUOTED_PRINTABLE: Final = re.compile(rb"=(?:[0-9A-Fa-f]{2}|[ \t]*+\r?\n)")
_WORD: Final = re.compile(rb"=\?[^?\s]{1,60}\?[bBqQ]\?")
_BLANKS: Final = b" \t\r\n"

_PACKED: Final = (
    (b"PK\x03\x04", "zip archives and office documents"),
    (b"%PDF", "PDFs"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office documents of the old kind"),
    (b"\x78\x9f\x3e\x22", "winmail.dat of Outlook's"),
    (b"\x1f\x8b", "gzip archives"),
    (b"BZh", "bzip2 archives"),
    (b"\xfd7zXZ\x00", "xz archives"),
    (b"\x28\xb5\x2f\xfd", "zstd archives"),
    (b"7z\xbc\xaf\x27\x1c", "7z archives"),
    (b"Rar!", "rar archives"),
)


def packing_of(beginning: bytes) -> str | None:
    """Name, in plural, what kind of file its first bytes say it is, if that hides its text; None for all others."""
    return next((name for magic, name in _PACKED if beginning.startswith(magic)), None)


def layers(content: bytes, deep: int = _DEEP) -> Iterator[bytes]:
    """Yield bytes, and what they are once base64 and quoted-printable are decoded, in whatever order they were used.

    What was cut out of base64 has lost its first letters, so what stands at the beginning is tried from its first line
    break on, too; without one, with all four alignments.
    """
    yield content
    if not deep:
        return
    if _QUOTED_PRINTABLE.search(content):
        yield from layers(binascii.a2b_qp(content), deep - 1)
    short = []
    for run in _BASE64.finditer(content):
        letters = run[0].translate(None, _BLANKS)
        if run.start() == 0:
            for start in _beginnings(run[0]):
                yield from layers(_decoded(run[0][start:].translate(None, _BLANKS)), deep - 1)
        elif len(letters) > _SHORT:
            yield from layers(_decoded(letters), deep - 1)
        elif len(letters) >= _SHORTEST:
            short.append(_decoded(letters))
    if short:
        yield from layers(b"\n\n".join(short), deep - 1)


def _beginnings(run: bytes) -> Iterable[int]:
    line_break = run.find(b"\n")
    return (0, line_break) if line_break >= 0 else range(4)


def has_words(content: bytes) -> bool:
    """Whether there are encoded words (RFC 2047)."""
    return _WORD.search(content) is not None


def texts(content: bytes) -> Iterator[str]:
    """Yield every text that bytes may be read as."""
    yield content.decode("utf-8", "replace")
    if not content.isascii():
        yield content.decode("latin-1")
    if b"\0" in content:
        for start in (0, 1):
            for codec in ("utf-16-le", "utf-16-be"):
                yield content[start:].decode(codec, "replace")


def _decoded(letters: bytes) -> bytes:
    whole = len(letters) // 4 * 4
    rest = letters[whole:]
    return binascii.a2b_base64(letters[:whole] + (rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""))
