"""One copy of a message, in one owner's mailbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from router.model.classification import Classification
from router.model.creation import CreationRule
from router.model.forward import Forward
from router.model.message import Mark, Message
from router.model.reading import Likeness, Packed, Predecided, Reading, Unreadable
from router.model.settings import Value
from router.model.tracking import Rule

if TYPE_CHECKING:  # loading it would make a worker's start three times as long
    from transports.base import Place


@dataclass(frozen=True, slots=True)
class Owner:
    """The user or queue that a mailbox belongs to; `rule` None: the profile's default."""

    id: UUID
    mailbox: str
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person, `by` name, ruled on a copy: it is decided on as if it came now.

    A dead letter is `replayed`. Of what is `released` nothing holds it any more; the tracking rule still judges it.
    What came before reading began, or was ignored, is `backfilled`. `decision_id` is the decision that this undoes;
    None: there is none yet.
    """

    by: str
    kind: Literal["replayed", "released", "backfilled"] = "replayed"
    decision_id: int | None = None

    @property
    def reason(self) -> str:
        """The ruling as a reason of the decision that follows."""
        return f"{self.kind} by {self.by}"


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a message, in one owner's mailbox. `id` becomes the email's if the copy is promoted.

    `owner_id` is None only for mail of a forward mailbox of which nothing came. `content` is the message as bytes, as
    far as it was fetched. `sent`: the copy lies in the owner's Sent folder. `headers_only`: the owner's rule was `none`
    when the copy was fetched, so it has no bodies. `forward` is set if the copy came by a forward mailbox. `recipients`
    are those of the envelope, and `null_sender` tells of its sender: only a listener knows them. `ruling` is set if a
    person has it decided on again. `profile_choices` are the settings of the profile that brought it, `creation_rules`
    its rules for records from mail that are for the owner.
    """

    id: UUID
    source_id: int
    place: "Place"
    owner_id: UUID | None
    default_rule: Rule
    received_at: datetime
    reading: Reading | Unreadable | Predecided
    content: bytes
    sent: bool = False
    headers_only: bool = False
    forward: Forward | None = None
    recipients: tuple[str, ...] = ()
    null_sender: bool = False
    ruling: Ruling | None = None
    profile_choices: Mapping[str, Value] = field(default_factory=dict, hash=False)
    creation_rules: tuple[CreationRule, ...] = ()

    @property
    def released(self) -> bool:
        """Whether a person ruled that nothing holds it."""
        return self.ruling is not None and self.ruling.kind == "released"

    @property
    def backfilled(self) -> bool:
        """Whether a person had it fetched from the mailbox's past."""
        return self.ruling is not None and self.ruling.kind == "backfilled"

    @property
    def judged(self) -> bool:
        """Whether the copy is judged by what it says. Only then has it a message, and what was worked out of it."""
        return isinstance(self.reading, Reading)

    @property
    def message(self) -> Message:
        """The message of a judged copy, without its attachments."""
        return self._read().message

    @property
    def classification(self) -> Classification:
        """The kind of a judged copy's message."""
        return self._read().classification

    @property
    def key(self) -> bytes:
        """The key of a judged copy's message (32 bytes)."""
        return self._read().key

    @property
    def sent_key(self) -> bytes | None:
        """The key of a judged copy in a Sent folder where it is an email by itself: see `Facts.keyed`."""
        return key_when_sent(self.key) if self.sent else None

    @property
    def likeness(self) -> Likeness:
        """What a judged copy's message says, in hashes."""
        return self._read().likeness

    @property
    def sender_gist(self) -> bytes | None:
        """What a judged copy says and who sent it, in a hash; None: its bodies were not fetched."""
        return None if self.headers_only else self.likeness.sender_gist or None

    @property
    def text_marks(self) -> tuple[Mark, ...]:
        """Where the text of a judged copy's message quotes or signs."""
        return self._read().text_marks

    @property
    def attachments(self) -> tuple[Packed, ...]:
        """The attachments of a judged copy's message."""
        return self._read().attachments

    @property
    def outer_place(self) -> "Place":
        """The place in which the mail server has it: a forward can hold several copies in one place."""
        return self.forward.place if self.forward else self.place

    def _read(self) -> Reading:
        if not isinstance(self.reading, Reading):
            raise TypeError("there is no message in this copy")
        return self.reading


def key_when_sent(key: bytes) -> bytes:
    """Return the key of the copy in its sender's Sent folder, where that is an email by itself (`Facts.keyed`)."""
    return sha256(b"sent:" + key).digest()
