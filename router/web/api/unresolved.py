"""`/unresolved`: who waits to be named, by domain and by sender; their emails, and who each sender may be."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from router.operations import owners
from router.operations import unresolved as operation
from router.operations.backing import Backing
from router.operations.queue import pages
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import Limit, Route, Shown, ShownRuling, Text, UnresolvedRead
from router.web.api.problem import answers


class ShownTotal(Shown):
    """How many senders and emails wait; of what several owners have received, once for each."""

    senders: int
    emails: int


class OwnerTotal(ShownTotal):
    """What waits for an owner; `kind` is user or queue."""

    mailbox: str
    kind: str


class ShownCounts(Shown):
    """What waits: in groups, of machines, and put off; and in groups by owner, those with most emails first."""

    waiting: ShownTotal
    machines: ShownTotal
    snoozed: ShownTotal
    owners: list[OwnerTotal] = Field(description="The thousand with most; of all, whatever `owner` says.")


class ShownGroup(Shown):
    """A domain with all its senders, or a lone address, as of a public provider."""

    group: str = Field(description="`@` and a domain, or an address: hand it to `/unresolved/senders`.")
    senders: int
    emails: int
    latest_at: datetime
    oldest_at: datetime


class GroupPage(Shown):
    """Groups, that with the newest email first."""

    groups: list[ShownGroup]
    cursor: Next


class WaitingSender(Shown):
    """A sender who waits; `subject` is that of the latest email, and null where that is private."""

    address: str
    group: str
    name: str
    reason: str = Field(description="Why they wait.")
    emails: int
    latest_at: datetime
    oldest_at: datetime
    latest_id: UUID
    subject: str | None
    owners: list[str] = Field(description="The mailboxes that the emails came to.")
    assigned_to: str | None
    snoozed_until: datetime | None


class SenderPage(Shown):
    """Senders, that with the newest email first."""

    senders: list[WaitingSender]
    cursor: Next


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


InGroup = Annotated[
    Text,
    Query(max_length=400, description="`group` of a group; `machines`, or `snoozed` for those who are put off."),
]
Hours = Annotated[
    int | None,
    Query(ge=0, le=100_000, description="Only where an email waits for more hours than this; the longest first."),
]
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

    async def owners_of(mailbox: str | None) -> frozenset[UUID] | None:
        return None if mailbox is None else frozenset([await owners.find_id(backing.database, mailbox)])

    @router.get("/counts", summary="Count who waits", responses=answers(404))
    async def count(_: UnresolvedRead, owner: Owner = None) -> ShownCounts:
        """Scope `unresolved:read`."""
        found = await pages.counts(backing.database, None, owners=await owners_of(owner))
        return ShownCounts(
            waiting=_total(found.waiting),
            machines=_total(found.machines),
            snoozed=_total(found.snoozed),
            owners=[
                OwnerTotal(mailbox=one.mailbox, kind=one.kind, senders=one.senders, emails=one.number)
                for one in found.owners
            ],
        )

    @router.get("/groups", summary="List who waits, by domain", responses=answers(404))
    async def list_groups(
        _: UnresolvedRead, owner: Owner = None, hours: Hours = None, cursor: Cursor = None, limit: Limit = 100
    ) -> GroupPage:
        """Scope `unresolved:read`. Machines, and senders who are put off, are in no group."""
        found = await pages.groups(
            backing.database,
            None,
            owners=await owners_of(owner),
            older_than=_age(hours),
            after=_place(cursor),
            limit=limit,
        )
        shown = [
            ShownGroup(
                group=one.part.part,
                senders=one.part.senders,
                emails=one.part.number,
                latest_at=one.part.latest_at,
                oldest_at=one.part.oldest_at,
            )
            for one in found.groups
        ]
        return GroupPage(groups=shown, cursor=_written(found.goes_on))

    @router.get("/senders", summary="List who waits, in a group", responses=answers(404))
    async def list_senders(
        _: UnresolvedRead,
        group: InGroup,
        owner: Owner = None,
        hours: Hours = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> SenderPage:
        """Scope `unresolved:read`."""
        found = await pages.senders(
            backing.database,
            None,
            group,
            owners=await owners_of(owner),
            older_than=_age(hours),
            after=_place(cursor),
            limit=limit,
        )
        reasons = await operation.reasons(backing.database, [one.address for one in found.senders])
        return SenderPage(senders=list(map(_sender, found.senders, reasons)), cursor=_written(found.goes_on))

    @router.get("/{address}", summary="Show who a sender may be", responses=answers(404))
    async def show(address: Text, _: UnresolvedRead) -> ShownSender:
        """Scope `unresolved:read`. With why their mail waits, and the records that they may be, and why."""
        return ShownSender.model_validate(await operation.show(backing.database, address))

    return router


def _total(one: pages.Total) -> ShownTotal:
    return ShownTotal(senders=one.senders, emails=one.number)


def _age(hours: int | None) -> timedelta | None:
    return None if hours is None else timedelta(hours=hours)


def _sender(one: pages.Sender, reason: str) -> WaitingSender:
    return WaitingSender(
        address=one.address,
        group=one.part,
        name=one.name,
        reason=reason,
        emails=one.number,
        latest_at=one.latest_at,
        oldest_at=one.oldest_at,
        latest_id=one.latest_id,
        subject=one.subject,
        owners=list(one.owners),
        assigned_to=one.assigned_to,
        snoozed_until=one.snoozed_until,
    )


def _written(place: pages.Place | None) -> str | None:
    return None if place is None else cursors.write(place.at.isoformat(), place.key)


def _place(cursor: str | None) -> pages.Place | None:
    found = cursors.moment_and_text(cursor)
    return None if found is None else pages.Place(*found)
