"""Names of folders, as people see them and as IMAP says them: modified UTF-7 (RFC 3501 §5.1.3) or UTF-8 (RFC 6855)."""

import base64
import binascii
import re
import unicodedata
from itertools import groupby

from transports.base import Permanent

_SHIFTED = re.compile(rb"&([^-]*)-")


def quoted(text: str) -> str:
    """Return a quoted string (RFC 3501 §9)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def folder_name(name: str, *, utf8: bool = False) -> str:
    """Return the folder's name as a command says it, quoted. Raises Permanent for control characters."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise Permanent(f"{name!r} is no name of a folder")
    if utf8:
        return quoted(name)
    runs = groupby(name, key=lambda char: " " <= char <= "~")
    return quoted("".join(_plain("".join(run)) if printable else _shifted("".join(run)) for printable, run in runs))


def seen_name(said: bytes, *, utf8: bool = False) -> str:
    """Return the name as a person sees it; what is no modified UTF-7 is taken as it stands."""
    if said.upper() == b"INBOX":
        return "INBOX"
    try:
        return said.decode() if utf8 else _SHIFTED.sub(_unshifted, said).decode()
    except (UnicodeDecodeError, binascii.Error):
        return said.decode(errors="replace")


def _plain(text: str) -> str:
    return text.replace("&", "&-")


def _shifted(text: str) -> str:
    encoded = base64.b64encode(text.encode("utf-16-be"), altchars=b"+,")
    return f"&{encoded.decode().rstrip('=')}-"


def _unshifted(match: re.Match[bytes]) -> bytes:
    if not match[1]:
        return b"&"
    padded = match[1] + b"=" * (-len(match[1]) % 4)
    return base64.b64decode(padded, altchars=b"+,", validate=True).decode("utf-16-be").encode()
