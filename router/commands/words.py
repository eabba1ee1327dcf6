"""How commands put moments."""

from datetime import datetime, timedelta

from router.operations.words import moment

__all__ = ["duration", "moment", "since"]


def duration(length: timedelta) -> str:
    """Put a duration in its largest unit: "40 s", "12 min", "3 h", "5 days"."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 2 * 86400 else f"{seconds // 86400} days"


def since(when: datetime, now: datetime) -> str:
    """Put when something began, and how long ago that is."""
    return f"since {moment(when)} ({duration(now - when)})"
