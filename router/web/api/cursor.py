"""Where a page ends, as text that a client hands back as it is."""

import base64
import binascii
import json
from typing import Any


def write(*place: object) -> str:
    """Write a place: what the last row of a page is ordered by."""
    return base64.urlsafe_b64encode(json.dumps([str(one) for one in place]).encode()).decode().rstrip("=")


def read(cursor: str, parts: int) -> list[str]:
    """Read a place of so many parts. Raises ValueError for what `write` has not written."""
    try:
        found: Any = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != parts or not all(isinstance(one, str) for one in found):
        raise ValueError("it is no cursor of such a page: take it from the page before, as it is")
    return found
