"""Where a page ends, as text that a client hands back as it is."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from router.operations.backing import Refused
from router.web.api.text import is_storable
from router.web.times import time_of

Cursor = Annotated[str | None, Query(max_length=400, description="`cursor` of the page before.")]
"""Where a client wants to go on."""

Next = Annotated[str | None, Field(description="Where the next page begins; null: there is none.")]
"""The `cursor` of a page."""


def write(*place: object) -> str:
    """Write a place: what the last row of a page is ordered by."""
    return base64.urlsafe_b64encode(json.dumps([str(one) for one in place]).encode()).decode().rstrip("=")


def number(cursor: str | None) -> int | None:
    """Read the place of a row with a number; None: the beginning. Raises Refused for what `write` has not written."""
    if cursor is None:
        return None
    try:
        [found] = map(int, _read(cursor))
    except ValueError:
        found = -1
    if not 0 < found < 1 << 63:
        raise _refused()
    return found


def row_id(cursor: str | None) -> UUID | None:
    """Read the place of a row with an id; None: the beginning. Raises Refused."""
    if cursor is None:
        return None
    try:
        [found] = map(UUID, _read(cursor))
    except ValueError:
        raise _refused() from None
    return found


def words(cursor: str | None, number: int) -> tuple[str, ...]:
    """Read the place of a row that is ordered by so many texts, which are empty at the beginning. Raises Refused."""
    if cursor is None:
        return ("",) * number
    found = _read(cursor)
    if len(found) != number or not all(map(is_storable, found)):
        raise _refused()
    return tuple(found)


def moment(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Read the place of a row that is ordered by a moment, and an id; None: the beginning. Raises Refused."""
    found = moment_and_text(cursor)
    try:
        return None if found is None else (found[0], UUID(found[1]))
    except ValueError:
        raise _refused() from None


def moment_and_text(cursor: str | None) -> tuple[datetime, str] | None:
    """Read the place of a row that is ordered by a moment, and a text; None: the beginning. Raises Refused."""
    if cursor is None:
        return None
    found = _read(cursor)
    at = time_of(found[0]) if len(found) == 2 else None
    if at is None or not is_storable(found[1]):
        raise _refused()
    return at, found[1]


def _read(cursor: str) -> list[str]:
    try:
        found: Any = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _refused() from None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _refused()
    return found


def _refused() -> Refused:
    return Refused("query.cursor: it is no cursor of this page: hand it back as it came")
