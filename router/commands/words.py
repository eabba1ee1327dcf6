"""How commands put moments, and what may be answered."""

from datetime import datetime, timedelta

from router.model import Candidate
from router.operations.words import moment

__all__ = ["duration", "moment", "since", "weighed"]


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


def weighed(candidate: Candidate) -> str:
    """Put an email that a message may answer: by what it was found, its score, and whether it was taken."""
    score = "" if candidate.score is None else f", score {candidate.score} of 100"
    taken = f"not taken: {candidate.why_not}" if candidate.why_not else "taken"
    return f"email {candidate.email_id}, by {candidate.method}{score}: {taken}"
