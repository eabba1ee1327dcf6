"""From when on a folder's mail is judged, and which messages reading passes over because they came before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from router.profile import IncomingProfile
from router.repository.incoming.audit import AuditedSource
from transports.base import Present

# How far beyond the beginning a date may lie and still not prove that the message came after it:
_CLOCKS: Final = timedelta(
    minutes=5
)  # where the server's numbers tell that it came since, or reading began with a date
_DATES: Final = timedelta(days=1)  # where dates alone tell, which may be those of a sender's clock


@dataclass(frozen=True, slots=True)
class Start:
    """From when on a folder's mail is judged; `never`: it is not read yet, and begins at the present."""

    begins_at: datetime | None
    never: bool
    by_date: timedelta

    @classmethod
    def of(
        cls, profile: IncomingProfile, source: AuditedSource | None, sources: Mapping[str, AuditedSource]
    ) -> "Start":
        """Tell it of a folder by its source, if there is one, among the sources of its mailbox."""
        # A folder that is new is read from where its mailbox began.
        of = source if source and source.begun else next((one for one in sources.values() if one.begun), None)
        by_date = _DATES if profile.start == "now" else _CLOCKS
        if of is not None:
            return cls(of.begins_at, never=False, by_date=by_date)
        if isinstance(profile.start, date):
            return cls(datetime.combine(profile.start, datetime.min.time(), UTC), never=False, by_date=by_date)
        return cls(None, never=profile.start == "now", by_date=by_date)

    def passes(self, present: Present) -> bool:
        """Whether reading passes over a message for certain: it lay there before, or is dated so."""
        if self.never or present.since_start is False:
            return True
        if self.begins_at is None or present.received_at is None:
            return False
        return present.received_at < self.begins_at.replace(microsecond=0)

    def may_pass(self, present: Present) -> bool:
        """Whether reading may have passed over a message, though clocks do not tell for certain."""
        return present.received_at is not None and self.may_pass_date(present.received_at, present.since_start)

    def may_pass_date(self, at: datetime | None, since_start: bool | None) -> bool:
        """Whether reading may have passed over a message of this date (None: nothing tells it).

        `since_start` is what the server's numbers say (`Present.since_start`).
        """
        if self.begins_at is None:
            return False
        return at is None or at <= self.begins_at + (_CLOCKS if since_start else self.by_date)

    def is_certain(self, at: datetime | None) -> bool:
        """Whether a message of this date, over which reading may have passed, was dated before it began."""
        return self.begins_at is not None and at is not None and at < self.begins_at
