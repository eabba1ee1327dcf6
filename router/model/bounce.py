"""What a bounce says of an address: that it is none, that mail to it failed this once, or nothing (RFC 3463 §3)."""

import re
from dataclasses import dataclass
from typing import Final, Literal

_HARD: Final = frozenset({"5.1.1", "5.1.2", "5.1.6", "5.1.10", "5.2.1"})
"""No such mailbox, no such domain, moved away, null MX (RFC 7505 §4), disabled."""

_OF_OTHERS: Final = re.compile(r"5\.[3567]\.")
"""Of the mail system, the protocol, the content, or a policy: they say nothing of the address."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """Why nothing is sent to an address: `code` and `text` as the server gave them, `since` a day, "2026-11-28"."""

    code: str
    text: str
    since: str

    @property
    def words(self) -> str:
        """The same in words."""
        told = self.text if self.code in self.text else f"{self.code} {self.text}".strip()
        return f"bounced on {self.since}: {told}"


def kind_of_bounce(code: str) -> Literal["hard", "soft"] | None:
    """Tell by its code what a bounce means for the address; None: nothing."""
    if code in _HARD:
        return "hard"
    return None if _OF_OTHERS.match(code) else "soft"
