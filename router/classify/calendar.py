"""Invitations and other calendar messages (RFC 5545, RFC 5546, RFC 6047): what, when, and who asks.

Read by ourselves, line by line and within bounds: libraries expand the rules of time zones and of repetitions, which a
hostile file can make endless.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from router.classify.zones import Zone, local_time
from router.model import Attachment, CalendarEvent, Message, normalize
from router.parse.charset import decode
from router.parse.text import clean, clean_line

_MOST_BYTES = 5_000_000  # of all calendars together
_MOST_CALENDARS = 10
_MOST_LINES = 100_000
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=("[^"]*"|[^;:"]*)')
_DURATION = re.compile(r"\+?P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})S)?)?")
_EVENTS = ("VEVENT", "VTODO", "VFREEBUSY", "VJOURNAL")
_ESCAPED = re.compile(r"\\(.)")
_NAME = re.compile(r"[A-Za-z0-9-]+")


def find_event(message: Message) -> CalendarEvent | None:
    """Read the first calendar part that can be read."""
    calendars = (one for one in message.attachments if _is_calendar(one))
    room = _MOST_BYTES
    for calendar in islice(calendars, _MOST_CALENDARS):
        event = read_event(clean(decode(calendar.content[:room])[0]), calendar.method)
        if event is not None:
            return event
        room = max(0, room - len(calendar.content))
    return None


def _is_calendar(attachment: Attachment) -> bool:
    return attachment.media_type in {"text/calendar", "application/ics"} or attachment.filename.lower().endswith(".ics")


@dataclass(slots=True)
class _Property:
    value: str
    parameters: dict[str, str]


@dataclass(slots=True)
class _Calendar:
    """What is of use in a calendar: its method, its time zones, and the properties of its first event."""

    method: str = ""
    zones: dict[str, Zone] = field(default_factory=dict)
    event: dict[str, _Property] | None = None
    _inside: list[str] = field(default_factory=lambda: ["VCALENDAR"])
    _zone: Zone = field(default_factory=Zone)
    _zone_id: str = ""
    _whole: bool = False

    def take(self, name: str, found: _Property) -> None:
        """Take the next property."""
        where = self._inside[-1]
        if name == "BEGIN":
            self._begin(found.value.strip().upper())
        elif name == "END":
            self._end(where)
        elif where == "VCALENDAR" and name == "METHOD":
            self.method = found.value.strip()[:40]
        elif where == "VTIMEZONE" and name == "TZID":
            self._zone_id = found.value
        elif where in ("STANDARD", "DAYLIGHT"):
            self._zone.learn(name, found.value)
        elif where in _EVENTS and self.event is not None and not self._whole:
            self.event.setdefault(name, found)

    def _begin(self, what: str) -> None:
        self._inside.append(what)
        if what == "VTIMEZONE":
            self._zone, self._zone_id = Zone(), ""
        elif what in ("STANDARD", "DAYLIGHT"):
            self._zone.begin()
        elif what in _EVENTS and self.event is None:
            self.event = {}

    def _end(self, what: str) -> None:
        if len(self._inside) > 1:
            self._inside.pop()
        if what == "VTIMEZONE" and self._zone_id:
            self.zones[self._zone_id] = self._zone
        elif what in _EVENTS:
            self._whole = True  # time zones may follow, but other events do not count


def read_event(text: str, method: str = "") -> CalendarEvent | None:
    """Read the first event of a calendar; None where there is none. `method` is for one that names none itself."""
    calendar = _Calendar()
    for name, found in _properties(text):
        calendar.take(name, found)
    event = calendar.event
    if event is None:
        return None
    start = _moment(event.get("DTSTART"), calendar)
    end = _moment(event.get("DTEND") or event.get("DUE"), calendar)
    if end is None and start is not None and "DURATION" in event:
        end = _after(start, event["DURATION"].value)
    if end is None and start is not None and not isinstance(start, datetime):
        end = start + timedelta(days=1)  # RFC 5545 §3.6.1: a date alone is the whole day
    uid = event.get("UID")
    organizer = event.get("ORGANIZER")
    return CalendarEvent(
        method=(calendar.method or method).lower() or "publish",
        uid=clean_line(uid.value)[:1_000] if uid else "",
        start=start,
        end=end,
        organizer=_address(organizer) if organizer else None,
    )


def _properties(text: str) -> Iterator[tuple[str, _Property]]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n", _MOST_LINES)[:_MOST_LINES]
    unfolded: list[str] = []
    for line in lines:
        if line[:1] in {" ", "\t"} and unfolded:
            if len(unfolded[-1]) < 10_000:
                unfolded[-1] += line[1:]
        else:
            unfolded.append(line)
    for line in unfolded:
        name = _NAME.match(line)
        if name is None:
            continue
        parameters, position = {}, name.end()
        while parameter := _PARAMETER.match(line, position):
            parameters[parameter[1].upper()] = parameter[2].strip('"')
            position = parameter.end()
        if line[position : position + 1] == ":":
            yield name[0].upper(), _Property(line[position + 1 :], parameters)


def _moment(written: _Property | None, calendar: _Calendar) -> date | None:
    if written is None:
        return None
    value = written.value.strip().upper()
    try:
        if len(value) == 8:
            return datetime.strptime(value, "%Y%m%d").date()  # noqa: DTZ007  # a date has no time zone
        moment = datetime.strptime(value.removesuffix("Z"), "%Y%m%dT%H%M%S")  # noqa: DTZ007  # it follows below
        if value.endswith("Z"):
            return moment.replace(tzinfo=UTC)
        zone_id = written.parameters.get("TZID", "")
        if zone := _known_zone(zone_id):
            return moment.replace(tzinfo=zone)
        return local_time(moment, calendar.zones[zone_id]) if zone_id in calendar.zones else moment
    except (ValueError, OverflowError):
        return None


def _known_zone(zone_id: str) -> ZoneInfo | None:
    if "/" not in zone_id or len(zone_id) > 60:
        return None
    try:
        return ZoneInfo(zone_id)
    except (KeyError, ValueError, OSError):
        return None


def _after(start: date, duration: str) -> date | None:
    found = _DURATION.fullmatch(duration.strip().upper())
    if found is None:
        return None
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    try:
        return start + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        return None


def _address(organizer: _Property) -> str | None:
    written = _ESCAPED.sub(r"\1", clean_line(organizer.value)).strip()
    address = written[7:] if written.lower().startswith("mailto:") else organizer.parameters.get("EMAIL", written)
    return normalize(address)[:320] if "@" in address else None
