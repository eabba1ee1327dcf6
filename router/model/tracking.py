"""Which of an owner's mail the CRM gets, and what became of it."""

from enum import StrEnum


class Rule(StrEnum):
    """Which of an owner's mail is promoted."""

    ALL = "all"
    REPLIES = "replies"
    KNOWN = "known"
    EMAIL_ENABLED = "email-enabled"
    NONE = "none"


class Disposition(StrEnum):
    """What became of one copy of a message."""

    PROMOTED = "promoted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    HELD = "held"
    DEAD = "dead"
