"""Bytes to text as mail needs it: unknown and lying charsets, and what PostgreSQL cannot hold."""

import codecs
import re

_UNSTORABLE = re.compile("[\ud800-\udfff]")
_CHARSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,39}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

# What mail calls by one name and writes in another, a superset of it (WHATWG Encoding §4.2).
_REALLY = {
    "ascii": "utf-8",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# Codecs of Python that are no charsets of mail, and slow or harmful on hostile input.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})


def clean(text: str) -> str:
    """Remove NUL and replace lone surrogates: PostgreSQL holds neither."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def clean_line(text: str) -> str:
    """Clean a text that stands on one line: control characters and line breaks become one space."""
    return clean(_CONTROLS.sub(" ", text)).strip()


def decode(raw: bytes, charset: str | None = None) -> tuple[str, str | None]:
    """Decode by the charset named, or else by what the bytes look like: UTF-8 or cp1252. Also says what was wrong."""
    if raw.isascii() and (charset is None or charset.lower() in {"utf-8", "us-ascii", "iso-8859-1", "windows-1252"}):
        return raw.decode("ascii"), None
    codec = _codec(charset) if charset else None
    if codec is not None:
        try:
            return raw.decode(codec), None
        except (UnicodeError, ValueError):
            pass
    text = _detect(raw)
    if codec is not None:
        return text, f"not in its charset {charset}"
    return text, f"unknown charset {clean_line(charset)[:40]!r}" if charset else None


def _codec(charset: str) -> str | None:
    charset = charset.partition("*")[0]  # a language may follow (RFC 2231 §5)
    if not _CHARSET_NAME.fullmatch(charset):
        return None
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    if (
        name in _NO_CHARSETS
        or name.endswith("_codec")
        or name in {"base64", "bz2", "hex", "quopri", "rot13", "uu", "zlib"}
    ):
        return None
    return _REALLY.get(name, name)


def _detect(raw: bytes) -> str:
    for guess in ("utf-8", "cp1252"):
        try:
            return raw.decode(guess)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")
