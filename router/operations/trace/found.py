"""What is known of mail that the CRM does not have."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from router.model import Rule
from router.repository.trace.unseen import Known, Reader

ClueKind = Literal[
    # of the router as a whole
    "no owner", "erased", "seen", "no process", "broken", "fault", "pruned",
    # of one mailbox
    "not approved", "not served", "not begun", "not read", "before start", "folders", "listener", "forward", "rule",
    "is held", "is dead", "held", "dead", "ignored",
    # of email that waits to be sent
    "sending off", "no relay", "relay",
]  # fmt: skip

Role = Literal["recipient", "sender"]


@dataclass(frozen=True, slots=True)
class Clue:
    """Something that is known, in words. `blocks`: because of it mail cannot have come in, or gone out, yet."""

    kind: ClueKind
    words: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Lying:
    """A message that a mail server has, and that is what was sought; `words` say what became of it, or why nothing.

    `known` is None where nothing became of it. What it says is not told.
    """

    folder: str
    received_at: datetime
    words: str
    known: Known | None = None

    @property
    def email_id(self) -> UUID | None:
        """The email of the CRM that it is."""
        return self.known.email_id if self.known and not self.known.erased else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the mail server of one mailbox says. `folders` were looked into; `fault`: why not all of them were, or any.

    `copies` are the newest, and `more` how many there are beside them. `certain`: what was not found is not in these
    folders.
    """

    folders: tuple[str, ...] = ()
    copies: tuple[Lying, ...] = ()
    more: int = 0
    certain: bool = False
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Concerned:
    """An owner in whose mailbox the mail would be: received, or as its sender in a folder of sent mail.

    `profile` is the one that reads the mailbox now, None where none does. `letters` are the numbers of what of its mail
    is held or dead. `asked` is None where its server was not asked. `rule` is the owner's own.
    """

    id: UUID
    mailbox: str
    role: Role
    approved: bool
    profile: str | None
    clues: tuple[Clue, ...] = ()
    readers: tuple[Reader, ...] = ()
    letters: tuple[int, ...] = ()
    asked: Asked | None = None
    rule: Rule | None = None
