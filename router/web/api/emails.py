"""`/emails`: sending, and what became of emails."""

import asyncio
import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import pybase64
from fastapi import APIRouter, Header, Response
from pydantic import ConfigDict, Field

from router.operations import emails as operation
from router.operations.backing import Backing, Refused
from router.operations.emails import NewAttachment, NewEmail, NewParty
from router.operations.staff_tokens import StaffToken
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import Document, EmailsRaw, EmailsRead, EmailsSend, Limit, Moment, Route, Shown, Text
from router.web.api.problem import answers
from router.web.files import LOCKED, disposition

Written = Annotated[Text, Field(max_length=1000, description="`ann@example.com`, or `Ann Example <ann@example.com>`.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="The same request with the same key makes no other email, for seven days; 1 to 255 characters.",
    ),
]
_MOST_RECIPIENTS: Final = 2000
_BEFORE: Final = "It was made by the same request before; this is how it is now."


class PostedFile(Document):
    """A file that is attached."""

    name: Text = Field(max_length=255)
    type: Text = Field(default="application/octet-stream", max_length=255, description="Media type.")
    content: Text = Field(description="Base64 (RFC 4648 §4).", json_schema_extra={"contentEncoding": "base64"})


class PostedEmail(Document):
    """An email to be sent."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: Written = Field(alias="from", description="The mailbox of an approved owner.")
    to: list[Written] = Field(default=[], max_length=_MOST_RECIPIENTS)
    cc: list[Written] = Field(default=[], max_length=_MOST_RECIPIENTS)
    bcc: list[Written] = Field(default=[], max_length=_MOST_RECIPIENTS)
    reply_to: list[Written] = Field(default=[], max_length=_MOST_RECIPIENTS)
    subject: Text = Field(default="", max_length=10_000)
    text: Text | None = None
    html: Text | None = Field(default=None, description="With `text`, both are sent as alternatives.")
    regarding_id: UUID | None = Field(default=None, description="The record that it is about.")
    send_after: Moment | None = Field(default=None, description="It is not sent before.")
    attachments: list[PostedFile] = Field(default=[], max_length=1000)


class ShownParty(Shown):
    """Who is on an email."""

    role: Literal["from", "to", "cc", "bcc", "reply_to"]
    address: str
    name: str
    record_id: UUID | None


class ShownDelivery(Shown):
    """What became of one recipient."""

    address: str
    state: str = Field(description="accepted, delayed, deferred, refused, given_up, or unknown.")
    code: str
    text: str = Field(description="The mail server's own words.")
    at: datetime


class ShownEmail(Shown):
    """An email, and what became of it. Of a private one there are only id, status and times."""

    id: UUID
    direction: Literal["in", "out"]
    status: str = Field(description="in: received. out: draft, pending_send, sending, sent, failed, unknown, canceled.")
    status_reason: str | None
    private: bool
    created_at: datetime
    received_at: datetime | None
    sent_at: datetime | None
    subject: str | None
    message_id: str | None
    regarding_id: UUID | None
    correlated_id: UUID | None = Field(description="The email that it answers.")
    send_after: datetime | None
    waits_for: str | None = Field(
        description="admin, approval, profile, send_after, relay, retry or turn, while it is pending."
    )
    waits_because: str | None
    next_try_at: datetime | None
    parties: list[ShownParty]
    deliveries: list[ShownDelivery]


class Raw(Response):
    """An email as it came."""

    media_type = "message/rfc822"


class ListedEmail(Shown):
    """An email in a list. Of a private one there are only id, status and times."""

    id: UUID
    direction: Literal["in", "out"]
    status: str
    private: bool
    created_at: datetime
    received_at: datetime | None
    sent_at: datetime | None
    subject: str | None
    regarding_id: UUID | None
    correlated_id: UUID | None


class EmailPage(Shown):
    """Emails, the newest first."""

    emails: list[ListedEmail]
    cursor: Next


class Thread(Shown):
    """The latest emails of a thread, the oldest first."""

    emails: list[ListedEmail]


class Release(Document):
    """What became of an email whose relay never answered."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    as_: Literal["sent", "failed", "resend"] = Field(alias="as")
    force: bool = Field(default=False, description="With `resend`: also where it lies in its owner's Sent folder.")


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/emails", tags=["emails"], route_class=Route)

    @router.post(
        "",
        status_code=201,
        summary="Send an email",
        responses={**answers(400, 404, 413), 200: {"model": ShownEmail, "description": _BEFORE}},
    )
    async def post(body: PostedEmail, staff: EmailsSend, response: Response, key: Key = None) -> ShownEmail:
        """Scope `emails:send`. It is queued as if the CRM had inserted it by SQL, and sent when its turn comes."""
        new, content = await asyncio.to_thread(_read, body)
        once = operation.once(staff.name, key, content) if key else None
        sent = await operation.post(backing.database, new, once)
        response.status_code = 201 if sent.is_new else 200
        return ShownEmail.model_validate(sent.email)

    @router.get("", name="list", summary="List emails", responses=answers())
    async def list_emails(_: EmailsRead, cursor: Cursor = None, limit: Limit = 100) -> EmailPage:
        """Scope `emails:read`. Those that came and those that go, as they became the CRM's, the newest first."""
        found = await operation.list_before(backing.database, cursors.moment(cursor), limit)
        goes_on = cursors.write(found[-1].created_at.isoformat(), found[-1].id) if len(found) == limit else None
        return EmailPage(emails=[ListedEmail.model_validate(one) for one in found], cursor=goes_on)

    @router.get("/{email_id}/thread", summary="List the thread of an email", responses=answers(404))
    async def thread(email_id: UUID, _: EmailsRead) -> Thread:
        """Scope `emails:read`. The latest thousand; of the thread of a private email nothing is told."""
        found = await operation.thread(backing.database, email_id)
        return Thread(emails=[ListedEmail.model_validate(one) for one in found])

    @router.get("/{email_id}", summary="Read an email, and what became of it", responses=answers(404))
    async def read(email_id: UUID, _: EmailsRead) -> ShownEmail:
        """Scope `emails:read`."""
        return ShownEmail.model_validate(await operation.read(backing.database, email_id))

    @router.get(
        "/{email_id}/raw", summary="Fetch a received email as it came", response_class=Raw, responses=answers(404, 409)
    )
    async def raw(email_id: UUID, staff: EmailsRaw) -> Raw:
        """Scope `emails:raw`. From the mailbox, for the CRM does not keep it; who fetched it is in the audit log."""
        headers = {**LOCKED, "Content-Disposition": disposition("attachment", "message.eml")}
        return Raw(await operation.raw(backing, email_id, staff.name), headers=headers)

    @router.post("/{email_id}/cancel", summary="Cancel an email", responses=answers(404, 409))
    async def cancel(email_id: UUID, staff: EmailsSend) -> ShownEmail:
        """Scope `emails:send`. What is pending or failed can be canceled; what a relay has, or may have, cannot."""
        return _shown(await operation.cancel(backing.database, staff.name, email_id), staff)

    @router.post("/{email_id}/retry", summary="Try an email again", responses=answers(404, 409))
    async def retry(email_id: UUID, staff: EmailsSend) -> ShownEmail:
        """Scope `emails:send`. What failed is pending again; what is pending does not wait for its next try."""
        return _shown(await operation.retry(backing.database, email_id), staff)

    @router.post("/{email_id}/release", summary="Say what became of an unknown email", responses=answers(400, 404, 409))
    async def release(email_id: UUID, body: Release, staff: EmailsSend) -> ShownEmail:
        """Scope `emails:send`. `sent` and `failed` say so; `resend` sends it again."""
        released = await operation.release(backing, staff.name, email_id, body.as_, force=body.force)
        return _shown(released, staff)

    return router


def _shown(email: operation.Email, staff: StaffToken) -> ShownEmail:
    """Show an email that may be somebody else's: who can act on it need not be allowed to read it."""
    return ShownEmail.model_validate(email if "emails:read" in staff.scopes else email.without_content())


def _read(body: PostedEmail) -> tuple[NewEmail, bytes]:
    """Read what was posted; and tell, as bytes, what it says. Raises Refused."""
    attachments = [_file(place, one) for place, one in enumerate(body.attachments)]
    new = NewEmail(
        list(_parties(body)), body.subject, body.text, body.html, body.regarding_id, body.send_after, attachments
    )
    return new, body.model_dump_json(by_alias=True).encode()


def _file(place: int, one: PostedFile) -> NewAttachment:
    try:
        content = pybase64.b64decode(one.content, validate=True)
    except ValueError:
        raise Refused(f"body.attachments.{place}.content is not Base64 (RFC 4648 §4)") from None
    return NewAttachment(one.name, one.type, content, hashlib.sha256(content).digest())


def _parties(body: PostedEmail) -> Iterator[NewParty]:
    for role, all_of_it in (
        ("from", [body.from_]),
        ("to", body.to),
        ("cc", body.cc),
        ("bcc", body.bcc),
        ("reply_to", body.reply_to),
    ):
        for written in all_of_it:
            name, bracket, address = written.rpartition("<")
            if bracket and address.rstrip().endswith(">"):
                yield NewParty(role, address.rstrip()[:-1], _unquoted(name.strip(), f"body.{role}"))
            else:
                yield NewParty(role, written)


_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def _unquoted(name: str, where: str) -> str:
    if _QUOTED.fullmatch(name):
        return _ESCAPED.sub(r"\1", name[1:-1])
    if "<" in name or ">" in name:  # the others would get nothing, and nobody would be told
        raise Refused(f"{where}: each address is a text of its own, or has a name that is quoted")
    return name
