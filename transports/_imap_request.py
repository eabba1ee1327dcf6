"""What we say to an IMAP server, in its syntax: strings, folder names and sets of UIDs."""

import base64
import unicodedata
from collections.abc import Iterable
from itertools import groupby

from transports.base import Permanent


def quoted(text: str) -> str:
    """Return a quoted string (RFC 3501 §9)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def folder_name(name: str) -> str:
    """Return the folder's name in modified UTF-7 (RFC 3501 §5.1.3), quoted. Raises Permanent for control characters."""
    if any(unicodedata.category(char) == "Cc" for char in name):
        raise Permanent(f"{name!r} is no name of a folder")
    runs = groupby(name, key=lambda char: " " <= char <= "~")
    return quoted("".join(_plain("".join(run)) if printable else _shifted("".join(run)) for printable, run in runs))


def uid_set(uids: Iterable[int]) -> str:
    """Return the shortest sequence set (RFC 3501 §9): `1:3,7`."""
    spans: list[list[int]] = []
    for uid in sorted(set(uids)):
        if spans and spans[-1][1] == uid - 1:
            spans[-1][1] = uid
        else:
            spans.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in spans)


def _plain(text: str) -> str:
    return text.replace("&", "&-")


def _shifted(text: str) -> str:
    encoded = base64.b64encode(text.encode("utf-16-be", "surrogatepass"), altchars=b"+,")
    return f"&{encoded.decode().rstrip('=')}-"
