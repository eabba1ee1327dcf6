"""Times that clients send: none near the years 1 and 9999, where it may be none in another time zone."""

from datetime import UTC, datetime, timedelta
from typing import Final

_DAY: Final = timedelta(days=1)  # more than any two time zones are apart
_FIRST: Final = datetime.min.replace(tzinfo=UTC) + _DAY
_LAST: Final = datetime.max.replace(tzinfo=UTC) - _DAY


def is_shown_everywhere(at: datetime) -> bool:
    """Whether a time, which has a zone, is one in every other zone, too."""
    # Compared, not converted: what is out of range in UTC cannot be converted.
    return _FIRST <= at <= _LAST


def time_of(text: str) -> datetime | None:
    """Read a time with its zone (ISO 8601), as one in UTC; None: it is none, or none that each zone has."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo and is_shown_everywhere(at) else None
