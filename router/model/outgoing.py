"""What is sent, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from router.model.bounce import Bounce
from router.model.message import Attachment, Mention
from router.model.token import PREFIX

if TYPE_CHECKING:  # loading it would make a worker's start three times as long
    from transports.base import Outcome

SendStatus = Literal["sent", "failed", "unknown", "pending_send"]
"""What an attempt to send makes of an email."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An attachment whose content stays in crm.blob until it is needed, under its `sha256`.

    `size` is that of the decoded content in bytes, `packed` of what is stored in its `encoding`; both were measured.
    `as_message`: the content is a message (RFC 5322) that may stand in another one as it is, in lines of 7 bits.
    """

    filename: str
    media_type: str
    sha256: bytes
    encoding: str
    size: int
    packed: int
    content_id: str | None = None
    inline: bool = False
    as_message: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A claimed email, with all that is needed to compose it and to record what became of it.

    `recipients` are the normalized addresses that did not take it yet, `taken` counts those that did; `mentions` are
    all that the headers name (bcc too, which composing leaves out). `date` and `message_id` are those of the first
    attempt, so that a second copy is known as one. `attempt_number` counts from 1, `spent` those before it that count
    against the profile's `max_attempts`; `deferred_for` is how long ago it was first deferred. `attached`: there are
    attachments, which are read only when its turn has come.

    `token_prefix` stands before the token in the subject; None: the subject has no token.

    `bounced` are those of the recipients to whom nothing is sent, as their address bounced before.

    `headers` are the CRM's own, names and values. `unsubscribe_url`: where a recipient unsubscribes by one click
    (RFC 8058). `automatic`: nobody wrote it by hand. `lane` is "normal", or "bulk" for what goes to many.
    """

    id: UUID
    attempt_id: UUID
    attempt_number: int
    owner_id: UUID
    mailbox: str
    message_id: str
    token: str
    date: datetime
    subject: str
    text: str | None
    html: str | None
    in_reply_to: str | None
    thread_ids: tuple[str, ...]
    mentions: tuple[Mention, ...]
    recipients: tuple[str, ...]
    taken: int = 0
    attached: bool = False
    attachments: tuple[Attachment | Stored, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    unsubscribe_url: str = ""
    automatic: bool = False
    lane: str = "normal"
    spent: int = 0
    deferred_for: timedelta | None = None
    bounced: Mapping[str, Bounce] = field(default_factory=dict)
    token_prefix: str | None = PREFIX


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt to send came to. `next_at` is set if it is to be tried again (`pending_send`).

    `relay_ids` are the Message-IDs that the relay may have given the email in place of its own. `spent`: the attempt
    counts against the profile's `max_attempts`. `given_up` are those recipients, of the deferred, that are not tried
    again.
    """

    email_id: UUID
    attempt_id: UUID
    status: SendStatus
    reason: str | None
    outcomes: "tuple[Outcome, ...]" = ()
    next_at: datetime | None = None
    relay_ids: tuple[str, ...] = ()
    spent: bool = True
    given_up: tuple[str, ...] = ()
