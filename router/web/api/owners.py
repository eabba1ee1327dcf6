"""`/owners`: whose mail is tracked, by which rule, and which profiles serve them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from router.errors import DatabaseAway, DatabaseError, UnknownName
from router.model import Rule, normalize
from router.operations import owners as operation
from router.operations.backing import Backing, Refused
from router.operations.owners import ServedOwner
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import Document, Limit, OwnersManage, OwnersRead, Route, Shown, Text
from router.web.api.problem import answers

Mailbox = Annotated[Text, Field(max_length=320)]


class PutRule(Document):
    """An owner's tracking rule."""

    rule: Rule | None = Field(description="null: that of the profile.")


class ShownOwner(Shown):
    """A user or queue with a mailbox."""

    mailbox: str
    name: str
    approved: bool
    rule: Rule | None = Field(description="null: that of the profile.")
    default_rules: list[Rule] = Field(description="Rules of the profiles that bring the mail in.")
    profiles: list[str] = Field(description="Profiles that bring the mail in, or send it.")


class OwnerPage(Shown):
    """Owners, by mailbox."""

    owners: list[ShownOwner]
    cursor: Next
    locked_rule: str | None = Field(description="The rule that the organization has locked for all.")
    allowed_rules: list[str]


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/owners", tags=["owners"], route_class=Route)

    @router.get("", name="list", summary="List owners", responses=answers())
    async def list_owners(_: OwnersRead, cursor: Cursor = None, limit: Limit = 100) -> OwnerPage:
        """Scope `owners:read`. Approved or not, with the profiles that serve them; by mailbox."""
        [after] = cursors.words(cursor, 1)
        found = await operation.list_page(backing.database, backing.lease, backing.folder, after=after, limit=limit)
        return OwnerPage(
            owners=list(map(_shown, found.owners)),
            cursor=cursors.write(found.after) if found.after else None,
            locked_rule=found.locked_rule,
            allowed_rules=list(map(str, found.allowed_rules)),
        )

    async def decide(mailbox: str, by: str, *, approved: bool) -> ShownOwner:
        found, faults = await operation.approve(
            backing.database, [mailbox], backing.lease, backing.folder, by, approved=approved
        )
        if faults:
            raise UnknownName("; ".join(faults))
        return _one(found.owners, mailbox)

    @router.post("/{mailbox}/approve", summary="Approve an owner", responses=answers(404))
    async def approve(mailbox: Mailbox, staff: OwnersManage) -> ShownOwner:
        """Scope `owners:manage`. From now on the mail is read, and sent."""
        return await decide(mailbox, staff.name, approved=True)

    @router.post("/{mailbox}/withdraw", summary="Take an approval back", responses=answers(404))
    async def withdraw(mailbox: Mailbox, staff: OwnersManage) -> ShownOwner:
        """Scope `owners:manage`. Nothing of the mail is read or sent any more."""
        return await decide(mailbox, staff.name, approved=False)

    @router.put("/{mailbox}/rule", summary="Set an owner's tracking rule", responses=answers(400, 404, 413))
    async def set_rule(mailbox: Mailbox, body: PutRule, staff: OwnersManage) -> ShownOwner:
        """Scope `owners:manage`. It holds for the very next mail; in the name of the token."""
        try:
            found = await operation.set_rule(
                backing.database, mailbox, body.rule, staff.name, backing.lease, backing.folder
            )
        except DatabaseAway:
            raise
        except DatabaseError as error:
            raise Refused(str(error)) from None
        return _one(found.owners, mailbox)

    return router


def _one(found: Sequence[ServedOwner], mailbox: str) -> ShownOwner:
    if not found:
        raise UnknownName(f"no owner has the mailbox {normalize(mailbox)}")
    return _shown(found[0])


def _shown(one: ServedOwner) -> ShownOwner:
    return ShownOwner(
        mailbox=one.mailbox,
        name=one.name,
        approved=one.approved,
        rule=one.rule,
        default_rules=list(one.default_rules),
        profiles=[profile.name for profile in one.routes.all],
    )
