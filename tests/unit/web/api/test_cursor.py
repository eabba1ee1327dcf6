"""Where a page ends: what `write` has not written is refused in words, whatever it is."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from router.operations.backing import Refused
from router.web.api import cursor as cursors

AT = datetime(2026, 11, 28, 3, 12, tzinfo=UTC)
ID = UUID("6f1c2f0e-0c69-4d2b-8f0b-7d3b9d6b8a11")


def test_what_was_written_is_read_again() -> None:
    assert cursors.moment(cursors.write(AT.isoformat(), ID)) == (AT, ID)
    assert cursors.moment_and_text(cursors.write(AT.isoformat(), "@kunde.test")) == (AT, "@kunde.test")


@pytest.mark.parametrize(
    "place",
    [
        ("0001-01-01T00:00:00+14:00", ID),
        ("9999-12-31T23:59:59-12:00", ID),
        ("2026-11-28T03:12:00", ID),
        ("yesterday", ID),
        (AT.isoformat(), ID, ID),
        (AT.isoformat(), "x"),
        (AT.isoformat(),),
        (),
    ],
)
def test_a_moment_that_no_row_has_is_no_cursor(place: tuple[object, ...]) -> None:
    with pytest.raises(Refused, match="it is no cursor of this page"):
        cursors.moment(cursors.write(*place))


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_a_text_that_no_row_has_is_no_cursor(text: str) -> None:
    with pytest.raises(Refused, match="it is no cursor of this page"):
        cursors.moment_and_text(cursors.write(AT.isoformat(), text))
