from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from router.classify import classify
from router.classify.calendar import read_event
from router.model import CalendarEvent
from router.parse.message import parse
from tests.support.build import mail

ZONE = """BEGIN:VTIMEZONE
TZID:W. Europe Standard Time
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
"""


def calendar(*lines: str, method: str = "METHOD:REQUEST\n", zone: str = "") -> str:
    event = "".join(f"{line}\n" for line in lines)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{method}{zone}BEGIN:VEVENT\n{event}END:VEVENT\nEND:VCALENDAR\n"


def read(*lines: str, **more: str) -> CalendarEvent:
    event = read_event(calendar(*lines, **more))
    assert event is not None
    return event


def test_t80_an_invitation_is_read_from_its_part() -> None:
    invitation = calendar(
        "UID:040000008200E00074C5B7101A82E008",
        "ORGANIZER;CN=Ann:MAILTO:Ann@Client.example",
        "DTSTART:20261201T090000Z",
        "DTEND:20261201T100000Z",
        "BEGIN:VALARM",
        "UID:alarm",
        "END:VALARM",
    )
    body = f"--x\r\n\r\nCome!\r\n--x\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n{invitation}\r\n--x--\r\n"
    raw = mail(body, content_type="multipart/alternative; boundary=x")
    assert classify(parse(raw)).calendar == CalendarEvent(
        "request",
        "040000008200E00074C5B7101A82E008",
        datetime(2026, 12, 1, 9, tzinfo=UTC),
        datetime(2026, 12, 1, 10, tzinfo=UTC),
        "ann@client.example",
    )


@pytest.mark.parametrize(
    ("in_type", "within", "method"),
    [("; method=REQUEST", "", "request"), ("; method=REQUEST", "METHOD:CANCEL\n", "cancel"), ("", "", "publish")],
)
def test_t80_the_method_is_the_content_types_where_the_calendar_names_none(
    in_type: str, within: str, method: str
) -> None:
    event = classify(parse(mail(calendar("UID:1", method=within), content_type=f"text/calendar{in_type}"))).calendar
    assert event is not None
    assert event.method == method


@pytest.mark.parametrize(
    ("start", "hours"),
    [("20260701T090000", 2), ("20261201T090000", 1), ("20260329T015959", 1), ("20260329T020000", 2)],
)
def test_t80_times_are_those_of_the_zone_that_the_invitation_brings(start: str, hours: int) -> None:
    event = read(f'DTSTART;TZID="W. Europe Standard Time":{start}', zone=ZONE)
    assert isinstance(event.start, datetime)
    assert event.start.tzinfo == timezone(timedelta(hours=hours))


def test_t80_a_zone_that_all_know_needs_no_rules() -> None:
    start = read("DTSTART;TZID=Europe/Berlin:20260701T090000").start
    assert isinstance(start, datetime)
    assert start.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("lines", "start", "end"),
    [
        (("DTSTART;VALUE=DATE:20261224",), date(2026, 12, 24), date(2026, 12, 25)),
        (("DTSTART:20261224T090000Z", "DURATION:PT1H30M"), *(datetime(2026, 12, 24, 9, m, tzinfo=UTC) for m in (0, 0))),
        (("DTSTART;TZID=Nowhere:20261224T090000",), datetime(2026, 12, 24, 9), None),  # noqa: DTZ001  # floating
        (("DTSTART:soon",), None, None),
        (("DTSTART:99991231T235959Z", "DURATION:P9999W"), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), None),
    ],
)
def test_t80_days_durations_and_unknown_zones(lines: tuple[str, ...], start: date | None, end: date | None) -> None:
    event = read(*lines)
    if "DURATION:PT1H30M" in lines:
        end = datetime(2026, 12, 24, 10, 30, tzinfo=UTC)
    assert (event.start, event.end) == (start, end)


def test_t80_lines_are_unfolded_and_only_the_first_event_counts() -> None:
    two = calendar("UID:on", " e", "SUMMARY:x") + calendar("UID:two", "DTSTART:20261224T090000Z", method="")
    event = read_event(two.replace("\n", "\r\n"))
    assert event == CalendarEvent("request", "one")


def test_t80_a_calendar_without_an_event_and_a_text_that_is_none_are_nothing() -> None:
    assert read_event("BEGIN:VCALENDAR\nMETHOD:REQUEST\nEND:VCALENDAR\n") is None
    assert read_event("hello") is None
    assert classify(parse(mail())).calendar is None


@pytest.mark.parametrize(
    "zone",
    [
        "BEGIN:VTIMEZONE\nTZID:W\nBEGIN:STANDARD\nBEGIN:VTIMEZONE\nEND:VTIMEZONE\nTZOFFSETTO:+0100\nEND:STANDARD\n",
        ZONE.replace("BYMONTH=10", "BYMONTH=10\u00b9"),
        ZONE.replace("16010101T", "16011301T"),
        ZONE.replace("+0100", "+9900"),
    ],
)
def test_t95_a_broken_zone_does_not_hide_the_event(zone: str) -> None:
    assert read("UID:1", 'DTSTART;TZID="W. Europe Standard Time":20261201T090000', zone=zone).uid == "1"
