"""One copy of a message, in one owner's mailbox."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from router.model.classification import Classification
from router.model.forward import Forward
from router.model.message import Message
from router.model.tracking import Disposition, Rule

if TYPE_CHECKING:  # loading it would make a worker's start three times as long
    from transports.base import Place


@dataclass(frozen=True, slots=True)
class Owner:
    """The user or queue that a mailbox belongs to; `rule` None: the profile's default."""

    id: UUID
    mailbox: str
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a message, in one owner's mailbox. `id` becomes the email's if the copy is promoted.

    `fault`: why there is no message to judge, in words. `sent`: it lies in the owner's Sent folder.
    `headers_only`: the owner's rule was `none` when it was fetched, so it has no bodies. `forward` is set if it came by
    a forward mailbox. `predecided`: its disposition is clear before any judgment, and why; then it may have no owner.
    """

    id: UUID
    source_id: int
    place: "Place"
    owner_id: UUID | None
    default_rule: Rule
    received_at: datetime
    message: Message
    content: bytes
    fault: str | None = None
    sent: bool = False
    headers_only: bool = False
    classification: Classification = field(default_factory=Classification)
    key: bytes = b""
    forward: Forward | None = None
    predecided: tuple[Disposition, str] | None = None

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.message.key)

    @property
    def judged(self) -> bool:
        """Whether it is judged by what it says: the server gave it up, and it is somebody's."""
        return self.fault is None and self.predecided is None

    @property
    def outer_place(self) -> "Place":
        """Where the mail server has it: a forward can hold several copies in one place."""
        return self.forward.place if self.forward else self.place
