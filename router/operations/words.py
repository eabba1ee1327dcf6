"""How numbers of things, and moments, are put."""

from datetime import UTC, datetime


def count(number: int, what: str, many: str | None = None) -> str:
    """Put a number of things: "1 owner", "2 owners"; `many` where the plural is no -s."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"


def moment(when: datetime) -> str:
    """Put a moment, in UTC, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
