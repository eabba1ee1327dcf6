"""What is written as `after`."""

import pytest

from transports.base import After


@pytest.mark.parametrize(
    "text", ["keep", "seen", "keyword:Tracked", "move:Done/2026:a", "delete", "delete:14d", "delete:1d"]
)
def test_it_is_read_and_written_alike(text: str) -> None:
    assert str(After.parse(text)) == text


def test_days_are_no_argument() -> None:
    assert After.parse("delete:14d") == After("delete", days=14)


@pytest.mark.parametrize("text", ["", "delete:0d", "delete:14", "delete:-1d", "delete:99999d", "keep:14d", "delete:٣d"])
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is none of keep, seen"):
        After.parse(text)
