"""Mail of a forward mailbox: messages that another mailbox received, inside of other messages."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from router.model.reading import Reading

if TYPE_CHECKING:
    from transports.base import Place

Form = Literal["attached", "redirected", "journal", "inline", "delivered"]
"""How the original lies in what was sent: as a file, as the mail itself, in a journal report, or in the text.

`delivered`: nothing was forwarded, a catch-all mailbox has the mail itself."""


@dataclass(frozen=True, slots=True)
class Forward:
    """The outer envelope of one copy, kept beside the original's own.

    `place` is that of the outer mail, the same for all copies in it. `forwarder` is the normalized address of who
    forwarded it; `message_id` and `date` are the outer mail's.
    """

    place: "Place"
    form: Form
    forwarder: str
    message_id: str | None
    date: datetime | None


@dataclass(frozen=True, slots=True)
class Original:
    """A mail that was forwarded. `content` is its bytes without what was around it; none if it stood in a text."""

    content: bytes
    reading: Reading


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What a mail in a forward mailbox holds.

    `mailboxes` are the normalized addresses in whose mailboxes the originals count as arrived, `sender` is who sent
    them where a journal report tells. `doubt` says why a form that was looked for before is not believed. `held` says
    why nothing is believed; then there are no originals.
    """

    form: Form | None = None
    forwarder: str = ""
    mailboxes: tuple[str, ...] = ()
    sender: str = ""
    originals: tuple[Original, ...] = ()
    message_id: str | None = None
    date: datetime | None = None
    doubt: str | None = None
    held: str | None = None
