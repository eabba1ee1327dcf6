"""What becomes of a copy."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from router.model.classification import CalendarEvent, Report
from router.model.creation import Creation
from router.model.message import Mark, Role
from router.model.tracking import Disposition, Rule

Method = Literal[
    "in-reply-to",
    "references",
    "read-receipt",
    "private-header",
    "token",
    "legacy-token",
    "thread-index",
    "smart-matching",
    "report",
]
"""How the email that a message answers was found; in `crm.email` also `manual`, which only the CRM says."""

OTHER_COPY = "other-copy"
"""The flag of an email of whose Message-ID and Date another message came: it says something else, or in another form
from somebody else."""

Says = Literal["the same", "much the same", "much the same, from another", "something else"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An email of the CRM that a copy may answer, how it was found, and why it was not taken; empty: it was.

    `score` is that of smart matching, of a hundred.
    """

    email_id: UUID
    method: Method
    why_not: str = ""
    score: int | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """An address in a role on one email, resolved to one record, or to none; one address can make several parties.

    `candidates` are the records of an unresolved sender among whom people are to choose. `ruling_id` is the ruling of a
    person by which it is resolved.
    """

    role: Role
    position: int
    address: str
    name: str
    record_id: UUID | None
    candidates: tuple[UUID, ...] = ()
    ruling_id: int | None = None


@dataclass(frozen=True, slots=True)
class Email:
    """An email activity made of a message, as it will stand in `crm.email`; outgoing if the owner `sent` it."""

    id: UUID
    message_id: str | None
    in_reply_to: str | None
    thread_ids: tuple[str, ...]
    subject: str
    text: str | None
    html: str | None
    owner_id: UUID
    dated_at: datetime | None
    received_at: datetime
    regarding_id: UUID | None = None
    correlated_id: UUID | None = None
    method: Method | None = None
    sent: bool = False
    calendar: CalendarEvent | None = None
    flags: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    text_marks: tuple[Mark, ...] = ()
    raw_headers: tuple[tuple[str, str], ...] = ()
    tracking_rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The disposition of one copy, with every reason that led to it.

    `email` and `parties` are set if it is promoted; `email_id` then too, and for a duplicate, whose email it names.
    `report` is set if it reports on the email that it is correlated with. `decided_before`: the copy keeps the
    disposition that it has already, whatever stands here. `waits_for` are the Message-IDs, the nearest first, of emails
    that the CRM does not have: with one of them the copy would be linked, or even promoted. `says` tells
    whether a duplicate says the same as its email: only the same may be destroyed. `acknowledge`: it is to be
    acknowledged in the owner's name, if it is new to that owner, and its thread was not. `candidates` are all emails
    that it may answer; the reasons name the nearest of them. `creation` is what a rule of the profile wants made of it.
    """

    disposition: Disposition
    rule: Rule
    reasons: tuple[str, ...]
    email_id: UUID | None = None
    email: Email | None = None
    parties: tuple[Party, ...] = ()
    report: Report | None = None
    decided_before: bool = False
    waits_for: tuple[tuple[Method, str], ...] = ()
    says: Says = "the same"
    acknowledge: bool = False
    candidates: tuple[Candidate, ...] = ()
    creation: Creation | None = None

    @property
    def doubtful(self) -> bool:
        """Whether one of a duplicate and its email may be forged: people are told."""
        return self.says in ("much the same, from another", "something else")
