"""What events there are, and their one order (docs/database.md)."""

from typing import Final, NamedTuple

KINDS: Final = (
    "promoted", "received", "correlated", "split", "taken_back", "restored", "erased", "case_opened", "case_reopened",
    "record_made", "record_wanted", "record_not_made", "acknowledged", "not_acknowledged", "draft", "pending_send",
    "sent", "failed", "unknown", "canceled", "refused", "given_up", "delayed", "accepted", "bounced", "complaint",
    "ruled", "ruling_undone", "resolved", "unresolved",
)  # fmt: skip
"""The kinds, in the order of docs/database.md."""


class Place(NamedTuple):
    """The place of an event in the order of all."""

    transaction: int
    id: int

    def __str__(self) -> str:
        return f"{self.transaction}-{self.id}"


BEGINNING: Final = Place(0, 0)
