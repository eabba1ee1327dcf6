"""`/simulations`: what another tracking rule would have made of an owner's mail. Nothing is changed."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from router.errors import UnknownName
from router.model import Disposition, Rule
from router.operations.backing import Backing
from router.operations.passwords import Busy
from router.operations.simulations import MOST, Compared, Simulating, Simulations
from router.web.api.frame import Document, OwnersManage, Route, Shown, Text, as_viewer
from router.web.api.problem import answers

Id = Annotated[str, Path(max_length=64, pattern="^[A-Za-z0-9_-]+$")]


class PostedSimulation(Document):
    """Another rule to be tried."""

    mailbox: Text = Field(min_length=1, max_length=320, description="Of an owner.")
    rule: Rule
    last: int = Field(default=200, ge=1, le=MOST, description="How many of the newest messages that were decided on.")


class ShownNumbers(Shown):
    """How many messages become this, by the rule that holds, and by the other."""

    disposition: Disposition
    now: int
    then: int


class ShownBecoming(Shown):
    """A message that would have become something else."""

    folder: str
    received_at: datetime
    email_id: UUID | None = Field(description="The email of the CRM that it is.")
    now: Disposition
    now_because: list[str]
    then: Disposition
    then_because: list[str]


class ShownSimulation(Shown):
    """A simulation, under way or done; the newest message is first."""

    id: str
    mailbox: str
    rule: Rule
    by: str
    begun_at: datetime
    done: bool
    fault: str | None = Field(description="Why not all messages were compared, once it is done.")
    rule_now: Rule | None = Field(description="The rule that holds; null: it is not known yet.")
    wanted: int = Field(description="Messages that are to be compared, as far as that is known.")
    compared: int
    numbers: list[ShownNumbers]
    changes: list[ShownBecoming]


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/simulations", tags=["simulations"], route_class=Route)
    simulations = backing.shared(Simulations)

    @router.post(
        "",
        status_code=202,
        summary="Try another rule",
        responses={
            **answers(400, 413),
            202: {"headers": {"Location": {"description": "Where to look for what it finds.", "required": True,
                                           "schema": {"type": "string", "format": "uri-reference"}}}},
        },
    )  # fmt: skip
    async def start(body: PostedSimulation, staff: OwnersManage, response: Response) -> ShownSimulation:
        """Scope `owners:manage`. Mail is fetched again and decided on by both rules; at most five minutes."""
        try:
            one = await simulations.start(as_viewer(staff), body.mailbox, body.rule, body.last)
        except Busy as error:
            raise HTTPException(503, str(error), {"Retry-After": "10"}) from None
        # Behind a proxy there may be more before it.
        response.headers["Location"] = f"simulations/{one.id}"
        return _shown(one)

    @router.get("/{simulation_id}", summary="Look at a simulation", responses=answers(404))
    async def show(simulation_id: Id, _: OwnersManage) -> ShownSimulation:
        """Scope `owners:manage`. What is compared so far; look again until it is `done`."""
        try:
            return _shown(await simulations.find(simulation_id))
        except UnknownName:
            raise UnknownName(_GONE) from None

    return router


_GONE = "there is no such simulation, or none any more: each is kept for a day; begin it again"


def _shown(one: Simulating) -> ShownSimulation:
    return ShownSimulation(
        id=one.id,
        mailbox=one.mailbox,
        rule=one.rule,
        by=one.by,
        begun_at=one.begun_at,
        done=one.done,
        fault=one.fault,
        rule_now=one.found.now if one.found else None,
        wanted=one.found.wanted if one.found else 0,
        compared=len(one.compared),
        numbers=[
            ShownNumbers(disposition=disposition, now=now, then=then)
            for disposition, (now, then) in one.numbers.items()
        ],
        changes=list(map(_becoming, one.changed)),
    )


def _becoming(one: Compared) -> ShownBecoming:
    return ShownBecoming(
        folder=one.folder,
        received_at=one.received_at,
        email_id=one.email_id,
        now=one.now.disposition,
        now_because=list(one.now.reasons),
        then=one.then.disposition,
        then_because=list(one.then.reasons),
    )
