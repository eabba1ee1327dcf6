"""`/rulings`: who a sender is, as a person says; undone as well."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, model_validator

from router.operations import unresolved as operation
from router.operations.backing import Backing, Conflict, Refused
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import Document, Limit, Route, Shown, ShownRuling, Text, UnresolvedDecide, UnresolvedRead
from router.web.api.problem import answers

_CARRIED_OUT = 1.0  # seconds; what is left then, a router does within seconds

RulingId = Annotated[int, Path(ge=1, le=(1 << 63) - 1)]
Undone = Annotated[bool, Query(description="Also those that were undone or replaced.")]


class PostedRuling(Document):
    """Who a sender is."""

    kind: Literal["resolve", "ignore-sender"] = Field(
        description="resolve: the subject is the record. ignore-sender: nobody has to say who it is."
    )
    subject: Text = Field(
        max_length=320, description="An address, or @ and a domain; to ignore mail whose From has no address, <>."
    )
    record_id: UUID | None = Field(default=None, description="For `resolve`.")
    replaces: int | None = Field(
        default=None, ge=1, le=(1 << 63) - 1, description="The ruling in force on the subject, which this one replaces."
    )
    dry_run: bool = Field(default=False, description="Tell what it would touch, and rule nothing.")

    @model_validator(mode="after")
    def _has_its_record(self) -> Self:
        if (self.kind == "resolve") != (self.record_id is not None):
            raise ValueError("record_id is for resolve, and for nothing else")
        return self


class Touched(Shown):
    """What a ruling would touch."""

    subject: str
    waiting: int = Field(description="Emails that wait, and would not any more.")
    parties: int = Field(description="Unresolved parties, which `resolve` would give to the record.")
    in_force: ShownRuling | None = Field(description="The ruling in force on the subject; `replaces` has to name it.")


class RulingPage(Shown):
    """Rulings, the latest first."""

    rulings: list[ShownRuling]
    cursor: Next


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/rulings", tags=["rulings"], route_class=Route)

    @router.post(
        "",
        status_code=201,
        summary="Rule who a sender is",
        response_model=ShownRuling | Touched,
        responses={
            **answers(400, 409, 413),
            200: {"model": Touched, "description": "Of a dry run: what it would touch."},
            201: {"model": ShownRuling, "description": "It is in force; a router carries out what is left."},
        },
    )
    async def rule(body: PostedRuling, staff: UnresolvedDecide, response: Response) -> ShownRuling | Touched:
        """Scope `unresolved:decide`. For the mail that waits and for what comes; in the name of the token."""
        database = backing.database
        if body.dry_run:
            response.status_code = 200
            return Touched.model_validate(await operation.ask(database, body.subject))
        try:
            ruling = await operation.rule(database, body.subject, body.record_id, staff.name, body.replaces)
        except operation.Refused as error:
            in_force = (await operation.ask(database, body.subject)).in_force
            other = (in_force.id if in_force else None) != body.replaces
            raise (Conflict if other else Refused)(str(error)) from None
        return ShownRuling.model_validate(await operation.carry_out_some(database, ruling, _CARRIED_OUT))

    @router.get("", name="list", summary="List rulings", responses=answers())
    async def list_rulings(
        _: UnresolvedRead, undone: Undone = False, cursor: Cursor = None, limit: Limit = 100
    ) -> RulingPage:
        """Scope `unresolved:read`. Those in force, the latest first."""
        before = cursors.number(cursor)
        found = await operation.list_rulings(backing.database, limit, undone=undone, before=before)
        goes_on = cursors.write(found[-1].id) if len(found) == limit else None
        return RulingPage(rulings=[ShownRuling.model_validate(one) for one in found], cursor=goes_on)

    @router.post("/{ruling_id}/undo", summary="Undo a ruling", responses=answers(404, 409))
    async def undo(ruling_id: RulingId, staff: UnresolvedDecide) -> ShownRuling:
        """Scope `unresolved:decide`. All is as it was before; what somebody changed since stays.

        So it is with a record, or an entry of the never-track list, that was made together with it: `kept` says why one
        stays.
        """
        database = backing.database
        await operation.find(database, ruling_id)
        try:
            undone = await operation.undo(database, ruling_id, staff.name)
        except operation.Refused as error:
            raise Conflict(str(error)) from None
        return ShownRuling.model_validate(await operation.carry_out_some(database, undone, _CARRIED_OUT))

    return router
