"""Names in a Maildir: of files (cr.yp.to/proto/maildir.html), and of folders (Maildir++). No I/O."""

import binascii
import os
import re
import unicodedata
from base64 import b64encode
from hashlib import blake2b
from urllib.parse import quote_from_bytes

from transports import _utf7
from transports.errors import Permanent

TOKEN = 12
"""Characters of a token."""

_USUAL = re.compile(r"[\w.,=+@~!-]+", re.ASCII)
_NUMBERS = re.compile(r"(\d+)")
_CONTENT_SIZE = re.compile(r",W=(\d{1,12})(?![^,:])", re.ASCII)


def id_of(name: str) -> str:
    """Return what stays of a file's name when it is moved to `cur` or its flags change; other bytes are written %XX."""
    base = name.partition(":")[0]
    return base if _USUAL.fullmatch(base) else quote_from_bytes(os.fsencode(base), safe=",=+@!")


def token(message: str) -> str:
    """Shorten an id to what a cursor remembers of it: 72 bits, so that no two in a mailbox are taken for one."""
    return b64encode(blake2b(os.fsencode(message), digest_size=9).digest(), altchars=b"-_").decode()


def in_order(message: str) -> list[str | int]:
    """Sort ids of the same time: a name begins with seconds and microseconds, which need not have all their zeros."""
    return [int(part) if number % 2 else part for number, part in enumerate(_NUMBERS.split(message))]


def content_size(name: str) -> int | None:
    """Return the size with CRLF line ends, where the name tells it (Dovecot, Courier: ",W=1234")."""
    found = _CONTENT_SIZE.search(name)
    return int(found[1]) if found else None


def seen(name: str) -> str:
    """Return the name of a file in `cur` with the flag S, its other flags kept, in ASCII order."""
    base, _, info = name.partition(":")
    flags = info.removeprefix("2,") if info.startswith("2,") else ""
    return f"{base}:2,{''.join(sorted({*flags, 'S'}))}"


def directory(folder: str) -> str:
    """Return where a folder lies inside the mailbox; empty for INBOX. Raises Permanent for what is no name of one."""
    if folder == "INBOX":
        return ""
    parts = folder.split("/")
    if not all(parts) or "." in folder or any(unicodedata.category(char) in ("Cc", "Cs") for char in folder):
        raise Permanent(
            f'{folder!r} is no name of a folder: a Maildir has "/" between a folder and one in it, and no dots'
        )
    return "." + ".".join(map(_utf7.encode, parts))


def folder(directory_name: str) -> str | None:
    """Return the folder that a directory inside the mailbox is, as people see its name; None if it is none."""
    try:
        name = _utf7.decode(os.fsencode(directory_name.removeprefix("."))).replace(".", "/")
        return name if directory(name) == directory_name != "" else None
    except (UnicodeDecodeError, binascii.Error, Permanent):
        return None
