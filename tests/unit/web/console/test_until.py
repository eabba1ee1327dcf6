"""Until when a sender is put off: by the clock of the person, also where the clocks change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from router.web.console.queue import until

BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY = datetime(2026, 10, 23, 22, 30, tzinfo=UTC)  # Saturday, half past midnight, in Berlin


def offered(now: datetime) -> dict[str, str]:
    return {one.name: one.at.astimezone(UTC).strftime("%d %H:%M") for one in until.choices(now, BERLIN)}


def test_times_are_those_of_the_persons_clock_also_where_clocks_change() -> None:
    # On Sunday, 25 October 2026, summer time ends.
    assert offered(FRIDAY) == {"hours": "24 01:30", "tomorrow": "25 08:00", "monday": "26 08:00", "week": "31 08:00"}


def test_monday_is_not_offered_where_it_is_tomorrow() -> None:
    assert "monday" not in offered(datetime(2026, 11, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("form", "at"),
    [
        ({"for": "tomorrow"}, datetime(2026, 10, 25, 8, tzinfo=UTC)),
        ({"at": "2026-11-03T14:15"}, datetime(2026, 11, 3, 13, 15, tzinfo=UTC)),
        ({"at": "2026-11-03T14:15+00:00"}, datetime(2026, 11, 3, 14, 15, tzinfo=UTC)),
        ({"at": "soon"}, None),
        ({"at": "9999-12-31T23:59"}, None),
        ({"at": "0001-01-01T00:00+00:00"}, None),
        ({"for": "ever"}, None),
        ({}, None),
    ],
)
def test_what_a_form_names_is_read(form: dict[str, str], at: datetime | None) -> None:
    assert until.chosen(form, FRIDAY, BERLIN) == at


def test_a_time_is_told_by_the_same_clock() -> None:
    assert until.in_words(datetime(2026, 12, 1, 8, tzinfo=UTC), BERLIN) == "Tue 1 Dec, 09:00"
