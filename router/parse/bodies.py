"""What a text body holds besides text: soft line ends, files between its lines, and what protects it."""

import binascii
import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from router.model import Attachment
from router.parse.cms import is_signed_data
from router.parse.text import clean

_MOST_LINES = 100_000  # that are joined; the rest of a text is left as it is
_QUOTE = re.compile(r">*")
_UU_BEGIN = re.compile(r"^begin (?:base64 )?[0-7]{3,4} (\S[^\n]{0,254})\n", re.MULTILINE)
_UU_LINE = re.compile(r"[ -`]{1,100}")
_MOST_BEGINNINGS = 100  # of uuencoded files, that are looked at in one text
MOST_UUENCODED = 100
"""Uuencoded files that are taken out of the texts of one message."""
_CALENDAR_FOLD = re.compile(r"\r?\n[ \t]")
_CALENDAR_LINE = re.compile(
    r"^(SUMMARY|LOCATION|DESCRIPTION)(?:;[^:\n]{0,1000})?:([^\r\n]*)", re.MULTILINE | re.IGNORECASE
)
_ESCAPE = re.compile(r"\\([nN,;\\])")


SMIME: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
UNREAD: Final[Mapping[str, str]] = {
    "smime-encrypted": "the text is encrypted (S/MIME): only who has the recipient's key can read it",
    "pgp-encrypted": "the text is encrypted (OpenPGP): only who has the recipient's key can read it",
    "smime-signed": "the text is signed in a form that could not be opened (S/MIME): it is in the attachment",
    "tnef": "the text is in winmail.dat, which only Outlook opens: have the sender write HTML or plain text",
}
"""Why a message of this kind shows no text, by its flag."""


def unflow(text: str, *, delsp: bool) -> str:
    """Join the lines of a text/plain that is format=flowed, of the same quote depth; line ends are LF (RFC 3676)."""
    paragraphs: list[tuple[int, list[str]]] = []
    flows = False
    lines = text.split("\n", _MOST_LINES)
    rest = lines[_MOST_LINES:]
    for line in lines[:_MOST_LINES]:
        found = _QUOTE.match(line)
        depth = found.end() if found else 0
        content = line[depth:].removeprefix(" ")  # one space is stuffing (§4.4)
        soft = content.endswith(" ") and content != "-- "
        if soft and delsp:
            content = content[:-1]
        if flows and paragraphs[-1][0] == depth and content != "-- ":
            paragraphs[-1][1].append(content)
        else:
            paragraphs.append((depth, [content]))
        flows = soft
    joined = ((depth, "".join(lines)) for depth, lines in paragraphs)
    return "\n".join([*(f"{'>' * depth} {line}" if depth else line for depth, line in joined), *rest])


def take_uuencoded(text: str, most: int = MOST_UUENCODED) -> tuple[str, list[tuple[str, bytes]]]:
    """Take uuencoded files out of a text. Returns the rest of the text, and the name and content of each file."""
    if not most or "begin " not in text:
        return text, []
    kept: list[str] = []
    files: list[tuple[str, bytes]] = []
    position = 0
    for begin in islice(_UU_BEGIN.finditer(text), _MOST_BEGINNINGS):
        if begin.start() < position:
            continue
        if len(files) == most:
            break
        content, end = _uudecoded(text, begin.end())
        if end:
            files.append((begin[1].strip(), content))
            kept.append(text[position : begin.start()])
            position = end
    return "".join(kept) + text[position:], files


def _uudecoded(text: str, position: int) -> tuple[bytes, int]:
    """Decode the lines up to "end". Also returns where the text goes on; 0 if this is no uuencoded file."""
    content = bytearray()
    while position < len(text):
        after = text.find("\n", position) + 1 or len(text)
        line = text[position:after].rstrip("\n")
        if line.strip() == "end":
            return bytes(content), after
        if line.strip():
            if not _UU_LINE.fullmatch(line):
                break
            try:
                content += _uudecode_line(line.encode("ascii"))
            except binascii.Error:
                break
        position = after
    return b"", 0


def _uudecode_line(line: bytes) -> bytes:
    """Decode one line. Encoders that drop or add spaces at its end are common. Raises binascii.Error."""
    count = (line[0] - 32) & 63
    letters = (count * 8 + 5) // 6
    return binascii.a2b_uu(line[: 1 + letters].ljust(1 + letters))


def calendar_text(calendar: str) -> str:
    """Make a text of an invitation that came without one: what, where, and what it says (RFC 5545 §3.8.1)."""
    found: dict[str, str] = {}
    for name, value in _CALENDAR_LINE.findall(_CALENDAR_FOLD.sub("", calendar)):
        written = _ESCAPE.sub(lambda escaped: "\n" if escaped[1] in "nN" else escaped[1], value).strip()
        if written:
            found.setdefault(name.upper(), written)
    lines = [found[name] for name in ("SUMMARY", "LOCATION", "DESCRIPTION") if name in found]
    return clean("\n".join(lines) + "\n") if lines else ""


def protection(text: str) -> str | None:
    """Say whether a text is protected by OpenPGP in the old way, within its lines (RFC 4880 §6.2, §7)."""
    beginning = text.lstrip()[:2_000]
    if "-----BEGIN PGP MESSAGE-----" in beginning:
        return "pgp-encrypted"
    return "pgp-signed" if "-----BEGIN PGP SIGNED MESSAGE-----" in beginning else None


def flag_of(attachment: Attachment, parameters: dict[str, str]) -> str | None:
    """Say what an attachment tells of its message: signed, encrypted, or wrapped by Outlook; it is kept as it is."""
    media_type, name = attachment.media_type, attachment.filename.lower()
    if media_type in {"application/ms-tnef", "application/vnd.ms-tnef"} or name == "winmail.dat":
        return "tnef"
    if media_type in SMIME:
        kind = parameters.get("smime-type", "").lower()
        signed = "signed" in kind or (not kind and is_signed_data(attachment.content))
        return "smime-signed" if signed else "smime-encrypted"
    if media_type in {"application/pkcs7-signature", "application/x-pkcs7-signature"}:
        return "smime-signed"
    return {"application/pgp-encrypted": "pgp-encrypted", "application/pgp-signature": "pgp-signed"}.get(media_type)
