"""What the audit of a mailbox found, as far as it has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from router.model import Disposition
from router.model.tally import Tally
from transports.base import Place

MOST_TOLD: Final = 1000
"""Missing messages of one folder that are named; all of them are counted."""


@dataclass(frozen=True, slots=True)
class MissingCopy:
    """A message that nothing accounts for. Who sent it and what it says is not told: its owner may keep it private.

    `message_id` is None where it has none, or could not be read; `fault` says why it could not be fetched or stored.
    `became` is what it was made once it was brought in; `erased`: a duplicate of an email that the CRM erased.
    """

    place: Place
    received_at: datetime
    message_id: str | None = None
    fault: str | None = None
    became: Disposition | None = None
    erased: bool = False


@dataclass(slots=True)
class Accounted:
    """What some messages of a folder come to. Of what is `missing`, or was and is `brought_in`, not all are named."""

    tally: Tally = field(default_factory=Tally)
    missing: list[MissingCopy] = field(default_factory=list)
    brought_in: list[MissingCopy] = field(default_factory=list)

    def add(self, other: "Accounted") -> None:
        """Take in more messages; the first `MOST_TOLD` are named."""
        self.tally.add(other.tally)
        self.missing += other.missing[: MOST_TOLD - len(self.missing)]
        self.brought_in += other.brought_in[: MOST_TOLD - len(self.brought_in)]


@dataclass(slots=True)
class FolderAudit:
    """The audit of one folder, as far as it has come.

    `fault`: why it was not audited to its end. `reading_fault`: what the router finds wrong with the folder.
    `read_anew`: why the router reads it from its beginning. `resumed`: since when, if it goes on where another audit
    was interrupted. `last`: the place up to which it has come. `failures`: in a row, since the last page.
    """

    name: str
    accounted: Accounted = field(default_factory=Accounted)
    fault: str | None = None
    reading_fault: str | None = None
    read_anew: str | None = None
    resumed: datetime | None = None
    done: bool = False
    last: Place | None = None
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    failures: int = 0

    @property
    def tally(self) -> Tally:
        """What its messages come to."""
        return self.accounted.tally

    def begin_again(self) -> None:
        """Count from the first message again."""
        self.accounted, self.last, self.resumed = Accounted(), None, None
        self.begun_at = datetime.now(UTC)

    def fail(self, fault: str) -> None:
        """Give it up."""
        self.fault, self.done = fault, True


@dataclass(slots=True)
class MailboxAudit:
    """The audit of one mailbox; `mailbox` is empty for a forward mailbox.

    `not_read`: how many messages lie in the folders that are not read. `fault`: why the mailbox could not be audited;
    folders that are among `folders` were, unless they have a fault of their own. `unreachable`: its server was away.
    """

    profile: str
    mailbox: str
    folders: dict[str, FolderAudit] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None
    unreachable: bool = False

    @property
    def tally(self) -> Tally:
        """What all folders come to."""
        total = Tally()
        for folder in self.folders.values():
            total.add(folder.tally)
        return total

    @property
    def faults(self) -> Sequence[tuple[str, str]]:
        """What was not audited, each folder ("" the mailbox as a whole) with the reason."""
        whole = [("", self.fault)] if self.fault else []
        return whole + [(one.name, one.fault) for one in self.folders.values() if one.fault]
