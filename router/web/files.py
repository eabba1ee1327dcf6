"""Answers that hand over a file that a stranger made."""

import string
from typing import Final
from urllib.parse import quote

# Whatever it is, and wherever it is opened: it may load nothing, run nothing, and is of no origin.
LOCKED: Final = {
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "sandbox",
    "Cache-Control": "no-store",
}

_PLAIN: Final = frozenset(string.ascii_letters + string.digits + " !#$&()+,-.;=@[]^_`{}~")
_UNESCAPED: Final = "!#$&+-.^_`|~"  # RFC 8187, 3.2.1: attr-char


def disposition(how: str, filename: str) -> str:
    """Say what a browser should do with a file, and its name: in ASCII, and where that is not all, whole (RFC 6266)."""
    plain = "".join(one if one in _PLAIN else "_" for one in filename)
    whole = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe=_UNESCAPED)}"
    return f'{how}; filename="{plain}"{whole}'
