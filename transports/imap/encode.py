"""What we say to an IMAP server, in its syntax. No I/O.

Names of folders are as people see them, and as IMAP says them: in modified UTF-7 (RFC 3501 §5.1.3) or UTF-8 (RFC 6855).
"""

import binascii
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime

from transports import _utf7
from transports.errors import Permanent

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def quoted(text: str) -> str:
    """Return a quoted string (RFC 3501 §9)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def uid_set(uids: Iterable[int]) -> str:
    """Return the shortest sequence set (RFC 3501 §9): `1:3,7`."""
    spans: list[list[int]] = []
    for uid in sorted(set(uids)):
        if spans and spans[-1][1] == uid - 1:
            spans[-1][1] = uid
        else:
            spans.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in spans)


def date(moment: datetime) -> str:
    """Put the day of a moment (RFC 3501 §9, date)."""
    return f"{moment.day}-{_MONTHS[moment.month - 1]}-{moment.year:04}"


def date_time(moment: datetime) -> str:
    """Put a moment, quoted, to the second (RFC 3501 §9, date-time)."""
    moment = moment.astimezone(UTC)
    return f'"{date(moment):>11} {moment:%H:%M:%S} +0000"'


def can_be_said(name: str) -> bool:
    """Whether a command can hold the folder's name: no control characters, and no halves of characters."""
    return not any(unicodedata.category(char) in ("Cc", "Cs") for char in name)


def folder_name(name: str, *, utf8: bool = False) -> str:
    """Return the folder's name as a command says it, quoted. Raises Permanent for control characters."""
    if not can_be_said(name):
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
