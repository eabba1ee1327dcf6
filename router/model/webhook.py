"""Webhooks: subscribers who are told of events by HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from router.model.event import Place

ROUTER: Final = "router"
"""Who paused a webhook that failed for too long."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscriber, without its secret.

    `kinds` is empty for all. `place` is that of the last event that it was told, or that is none of its kinds;
    `waiting`: there are events after it, though perhaps of no such kind (None: nobody looked). `missed` events were
    pruned before it was told of them. `failures` in a row are of the event that comes next, since `fault_since`.
    """

    id: int
    name: str
    url: str
    kinds: tuple[str, ...]
    made_by: str
    made_at: datetime
    place: Place
    delivered: int
    delivered_at: datetime | None
    missed: int
    missed_at: datetime | None
    failures: int
    fault: str | None
    fault_since: datetime | None
    next_try_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    waiting: bool | None = None

    @property
    def state(self) -> str:
        """paused, failing, or working."""
        if self.paused_at is not None:
            return "paused"
        return "failing" if self.fault is not None else "working"
