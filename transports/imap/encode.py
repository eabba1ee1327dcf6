"""Names of folders, as people see them and as IMAP says them: modified UTF-7 (RFC 3501 §5.1.3) or UTF-8 (RFC 6855)."""

import binascii
import unicodedata

from transports import _utf7
from transports.base import Permanent


def quoted(text: str) -> str:
    """Return a quoted string (RFC 3501 §9)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def folder_name(name: str, *, utf8: bool = False) -> str:
    """Return the folder's name as a command says it, quoted. Raises Permanent for control characters."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise Permanent(f"{name!r} is no name of a folder")
    return quoted(name if utf8 else _utf7.encode(name))


def seen_name(said: bytes, *, utf8: bool = False) -> str:
    """Return the name as a person sees it; what is no modified UTF-7 is taken as it stands."""
    if said.upper() == b"INBOX":
        return "INBOX"
    try:
        return said.decode() if utf8 else _utf7.decode(said)
    except (UnicodeDecodeError, binascii.Error):
        return said.decode(errors="replace")
