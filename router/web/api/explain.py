"""`/explain`: why a message is in the CRM or is not: each copy of it, and every step of the decision on it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from router.model import Disposition, Rule
from router.operations import why
from router.operations.backing import Backing
from router.operations.trace import Clue, CopyFound, EmailFound
from router.operations.why import Known, Origin, Why
from router.web.api.frame import EmailsRead, Route, Shown, Text, as_viewer
from router.web.api.problem import answers

MessageId = Annotated[
    Text, Query(min_length=1, max_length=1000, description="With its angle brackets or without.", examples=["x@y.test"])
]


class ShownClue(Shown):
    """Something that is known of a mailbox, or of the router, in words."""

    words: str
    blocks: bool = Field(description="Because of it mail cannot have come in, or gone out, yet.")


class ShownAnswered(Shown):
    """An email that a copy may answer."""

    email_id: UUID
    method: str
    why_not: str = Field(description="Why it was not taken; empty: it was.")
    score: int | None


class ShownCopy(Shown):
    """A copy of the message in a mailbox, and what was decided on it."""

    mailbox: str
    profile: str
    folder: str = Field(description="Empty: it was handed to a listener.")
    received_at: datetime
    disposition: Disposition | None = Field(description="null: the decision is not kept any more.")
    rule: Rule | None
    reasons: list[str] = Field(description="Every step of the decision.")
    decided_at: datetime | None
    forwarder: str | None = Field(description="Who forwarded it, where it came to a forward mailbox.")
    candidates: list[ShownAnswered]
    letter: int | None = Field(description="Its number, where it is held.")


class ShownWanted(Shown):
    """A record that a rule wanted to be made of it."""

    rule: str
    makes: str
    state: str
    outcome: str | None
    fault: str | None
    record_id: UUID | None


class ExplainedEmail(Shown):
    """An email that the message is; of a private one there is nothing of what it says, nor who is on it."""

    id: UUID
    direction: Literal["in", "out"]
    status: str
    status_reason: str | None
    private: bool
    at: datetime
    sent_at: datetime | None
    subject: str | None
    sender: str | None
    recipients: list[str]
    next_try_at: datetime | None
    owner: str | None = Field(description="Of whose copy it was made, or in whose name it is sent: a mailbox.")
    rule: str | None = Field(description="The tracking rule by which it is there; null: the CRM wrote it.")
    reasons: list[str]
    correlated_id: UUID | None = Field(description="The email that it answers.")
    correlated_by: str | None = Field(description="How that was found; null: the CRM says so.")
    records: list[ShownWanted]
    copies: list[ShownCopy]


class ShownMailbox(Shown):
    """A mailbox in which the message would be, and what is known of it."""

    mailbox: str
    role: Literal["recipient", "sender"]
    approved: bool
    profile: str | None = Field(description="The one that reads it now.")
    rule: Rule | None
    clues: list[ShownClue]
    letters: list[int] = Field(description="Numbers of what of its mail is held or dead.")


class Explanation(Shown):
    """Why a message is in the CRM, or why perhaps not; mailboxes are told where it is not."""

    answer: str = Field(description="The surest that can be said, in a line.")
    in_crm: bool
    emails: list[ExplainedEmail]
    clues: list[ShownClue]
    mailboxes: list[ShownMailbox]
    other_mailboxes: int = Field(description="How many more there are.")


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(route_class=Route)

    @router.get(
        "/explain",
        tags=["explain"],
        name="message",
        summary="Explain why a message is there or not",
        responses=answers(),
    )
    async def explain(message_id: MessageId, staff: EmailsRead) -> Explanation:
        """Scope `emails:read`. As `email-router explain` does; no mail server is asked."""
        return _explanation(await why.find(backing, as_viewer(staff), Known(message_id=message_id)))

    return router


def _explanation(found: Why) -> Explanation:
    traced = found.traced
    return Explanation(
        answer=traced.answer,
        in_crm=traced.in_crm,
        emails=[_email(one, found.origins.get(one.id)) for one in traced.emails],
        clues=_clues(traced.clues),
        mailboxes=[
            ShownMailbox(
                mailbox=one.mailbox, role=one.role, approved=one.approved, profile=one.profile, rule=one.rule,
                clues=_clues(one.clues), letters=list(one.letters),
            )
            for one in traced.owners
        ],
        other_mailboxes=traced.other_owners,
    )  # fmt: skip


def _clues(clues: Sequence[Clue]) -> list[ShownClue]:
    return [ShownClue.model_validate(one) for one in clues]


def _email(one: EmailFound, origin: Origin | None) -> ExplainedEmail:
    told = not one.private
    return ExplainedEmail(
        id=one.id,
        direction=one.direction,
        status=one.status,
        status_reason=one.status_reason if told else None,
        private=one.private,
        at=one.at,
        sent_at=one.sent_at,
        subject=one.subject if told else None,
        sender=one.sender if told else None,
        recipients=list(one.recipients) if told else [],
        next_try_at=one.next_at,
        owner=origin.mailbox if origin else None,
        rule=origin.rule if origin else None,
        reasons=list(origin.reasons) if origin else [],
        correlated_id=origin.correlated_id if origin and told else None,
        correlated_by=origin.method if origin and told else None,
        records=[ShownWanted.model_validate(made) for made in origin.records] if origin and told else [],
        copies=[_copy(copy, told=told) for copy in one.copies],
    )


def _copy(one: CopyFound, *, told: bool) -> ShownCopy:
    columns = {name: getattr(one, name) for name in ShownCopy.model_fields if name not in ("reasons", "candidates")}
    candidates = [ShownAnswered.model_validate(other) for other in one.candidates] if told else []
    shown = ShownCopy(**columns, reasons=list(one.reasons), candidates=candidates)
    return shown if told else shown.model_copy(update={"forwarder": None})
