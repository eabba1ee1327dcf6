"""Time zones as a calendar defines them (VTIMEZONE, RFC 5545 §3.6.5), for names that the system does not know."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?")
_DAYS = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
_BY_DAY = re.compile(r"([+-]?\d)?(MO|TU|WE|TH|FR|SA|SU)")
_MOST_CHANGES = 200


@dataclass(slots=True)
class _Change:
    """When an offset from UTC begins: once, or each year by a rule such as the last Sunday in October."""

    offset: timedelta | None = None
    begins: datetime | None = None
    month: int | None = None
    day: tuple[int, int] | None = None  # which of the month's (-1: the last), and the day of the week

    def last_before(self, moment: datetime) -> datetime | None:
        """Say when it last began before a local time; None if it had not."""
        if self.begins is None or self.begins > moment:
            return None
        if self.month is None or self.day is None:
            return self.begins
        for year in (moment.year, moment.year - 1):
            began = _nth_day(self.begins.replace(year=year, month=self.month, day=1), *self.day)
            if began <= moment:
                return max(began, self.begins)
        return self.begins


def _nth_day(first: datetime, number: int, weekday: int) -> datetime:
    if number > 0:
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))
    last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - weekday) % 7 + 7 * (-number - 1))


@dataclass(slots=True)
class Zone:
    """One time zone: the changes of its offset."""

    changes: list[_Change] = field(default_factory=list)

    def begin(self) -> None:
        """Begin with the next change, STANDARD or DAYLIGHT."""
        if len(self.changes) < _MOST_CHANGES:
            self.changes.append(_Change())

    def learn(self, name: str, value: str) -> None:
        """Take a property of the last change."""
        if not self.changes:
            return
        change = self.changes[-1]
        if name == "TZOFFSETTO" and (offset := _OFFSET.fullmatch(value.strip())):
            size = timedelta(hours=int(offset[2]), minutes=int(offset[3]), seconds=int(offset[4] or 0))
            if size < timedelta(hours=24):
                change.offset = -size if offset[1] == "-" else size
        elif name == "DTSTART":
            with suppress(ValueError):
                change.begins = datetime.strptime(value.strip()[:15], "%Y%m%dT%H%M%S")  # noqa: DTZ007  # it is local
        elif name == "RRULE":
            rule = dict(piece.split("=", 1) for piece in value.upper().split(";") if "=" in piece)
            day = _BY_DAY.fullmatch(rule.get("BYDAY", ""))
            if rule.get("FREQ") == "YEARLY" and day and rule.get("BYMONTH", "").isdecimal():
                change.day = (int(day[1] or 1) or 1, _DAYS[day[2]])
                change.month = min(max(int(rule["BYMONTH"]), 1), 12)


def local_time(moment: datetime, zone: Zone) -> datetime:
    """Give a local time its offset: that of the change that last began before it, or else of the first."""
    told = [change for change in zone.changes if change.offset is not None]
    if not told:
        return moment
    began = [(since, number) for number, change in enumerate(told) if (since := change.last_before(moment))]
    offset = told[max(began)[1] if began else 0].offset
    return moment.replace(tzinfo=timezone(offset)) if offset is not None else moment
