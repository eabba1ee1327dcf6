"""Until when a sender is put off: by the clock, in the person's own time zone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

from router.web.times import is_shown_everywhere

_MORNING: Final = time(9)


@dataclass(frozen=True, slots=True)
class Choice:
    """A time that is offered: as a form names it, and as a person does."""

    name: str
    words: str
    at: datetime


def choices(now: datetime, zone: tzinfo) -> Iterator[Choice]:
    """Offer times; those by the clock are in the time zone."""
    here = now.astimezone(zone)

    def morning(days: int) -> datetime:
        return datetime.combine(here.date() + timedelta(days=days), _MORNING, zone)

    yield Choice("hours", "in 3 hours", now + timedelta(hours=3))
    yield Choice("tomorrow", "tomorrow 9:00", morning(1))
    monday = 7 - here.weekday()
    if monday > 1:  # else it is tomorrow
        yield Choice("monday", "Monday 9:00", morning(monday))
    yield Choice("week", "in a week, 9:00", morning(7))


def chosen(form: Mapping[str, str], now: datetime, zone: tzinfo) -> datetime | None:
    """Read what was chosen; or `at`, a date and time in the time zone. None: no time is named."""
    for one in choices(now, zone):
        if form.get("for") == one.name:
            return one.at
    try:
        at = datetime.fromisoformat(form.get("at", ""))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=zone)
    return at if is_shown_everywhere(at) else None


def in_words(at: datetime, zone: tzinfo) -> str:
    """Put a time in the time zone: "Tue 1 Dec, 09:00"."""
    here = at.astimezone(zone)
    return f"{here:%a} {here.day} {here:%b, %H:%M}"
