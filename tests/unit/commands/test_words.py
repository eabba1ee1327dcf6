"""Numbers and moments in words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from router.commands.status import fault_line
from router.commands.words import duration, moment, since
from router.operations.status import Fault
from router.operations.words import count

NOW = datetime(2026, 11, 21, 10, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (40, "40 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (864000, "10 days")],
)
def test_durations(seconds: int, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


def test_moments_and_numbers() -> None:
    assert moment(NOW.astimezone(timezone(timedelta(hours=9)))) == "2026-11-21 10:14 UTC"
    assert since(NOW - timedelta(minutes=3), NOW) == "since 2026-11-21 10:11 UTC (3 min)"
    assert [count(1, "owner"), count(2, "owner")] == ["1 owner", "2 owners"]


def test_a_fault_says_since_when_and_when_it_is_tried_next() -> None:
    fault = Fault("source", "staff ann@in.test", "no", NOW - timedelta(hours=3), NOW + timedelta(seconds=40))
    words = "at fault    source staff ann@in.test: since 2026-11-21 07:14 UTC (3 h), next try in 40 s: no"
    assert fault_line(fault, NOW) == words
    assert fault_line(Fault("router", "", "none runs"), NOW) == "at fault    router: none runs"
    due = Fault("relay", "mx", "no", None, NOW - timedelta(seconds=1))
    assert fault_line(due, NOW) == "at fault    relay mx: being tried again: no"
