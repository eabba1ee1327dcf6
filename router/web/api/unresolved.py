"""`/unresolved`: received emails whose sender a person has to name, and who each sender may be."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from router.operations import unresolved as operation
from router.operations.backing import Backing
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import Limit, Route, Shown, ShownRuling, Text, UnresolvedRead
from router.web.api.problem import answers


class WaitingEmail(Shown):
    """An email that waits; `subject` is null where it is private."""

    email_id: UUID
    received_at: datetime
    address: str
    name: str = Field(description="What the email calls its sender.")
    owner: str | None = Field(description="The mailbox that it came to.")
    subject: str | None


class WaitingPage(Shown):
    """Emails that wait, the latest first."""

    emails: list[WaitingEmail]
    cursor: Next


class ShownCandidate(Shown):
    """A record that a sender may be, and why."""

    record_id: UUID
    kind: str
    name: str
    active: bool
    why: list[str]


class ShownSender(Shown):
    """What is known of an address."""

    address: str
    waiting: int = Field(description="Emails of theirs that wait.")
    reason: str = Field(description="Why they wait.")
    in_force: list[ShownRuling] = Field(description="Rulings on the address and its domain; the first one counts.")
    candidates: list[ShownCandidate] = Field(description="The likeliest first.")
    fault: str | None = Field(description="Why there are no candidates, where they could not be looked for.")


Owner = Annotated[Text | None, Query(max_length=320, description="Only this owner's mail: a mailbox.")]
Domain = Annotated[Text | None, Query(max_length=320, description="Only senders of this domain.")]
Address = Annotated[Text | None, Query(max_length=320, description="Only this sender.")]


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/unresolved", tags=["unresolved"], route_class=Route)

    @router.get("", summary="List the emails that wait", responses=answers())
    async def list_waiting(
        _: UnresolvedRead,
        owner: Owner = None,
        domain: Domain = None,
        address: Address = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> WaitingPage:
        """Scope `unresolved:read`. The latest first; a page goes on where the one before ended."""
        found = await operation.list_waiting(
            backing.database,
            owner=owner,
            domain=domain,
            address=address,
            before=cursors.moment(cursor),
            limit=limit,
        )
        goes_on = cursors.write(found[-1].received_at.isoformat(), found[-1].email_id) if len(found) == limit else None
        return WaitingPage(emails=[WaitingEmail.model_validate(one) for one in found], cursor=goes_on)

    @router.get("/{address}", summary="Show who a sender may be", responses=answers(404))
    async def show(address: Text, _: UnresolvedRead) -> ShownSender:
        """Scope `unresolved:read`. With why their mail waits, and the records that they may be, and why."""
        return ShownSender.model_validate(await operation.show(backing.database, address))

    return router
