"""`/held` and `/dead-letters`: copies that wait for a person, who has them decided on again, or drops them."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import Field

from router.model import Disposition
from router.operations import letters as operation
from router.operations.backing import Backing, Conflict
from router.operations.letters import Became, Letter, Selection
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import LettersDecide, LettersRead, Limit, Route, Shown, Text
from router.web.api.problem import answers

Number = Annotated[int, Path(ge=1, le=(1 << 63) - 1)]
Profile = Annotated[Text | None, Query(max_length=320, description="Only what this profile brought.")]
Owner = Annotated[Text | None, Query(max_length=320, description="Only this owner's mail: a mailbox.")]


class ShownLetter(Shown):
    """One copy, and why it waits; of what it says nothing."""

    number: int
    profile: str
    mailbox: str
    folder: str
    owner: str | None = Field(description="The mailbox of whose owner it is.")
    rule: str
    reasons: list[str]
    received_at: datetime
    decided_at: datetime
    kept_until: datetime | None = Field(description="Until when its bytes are kept; null: they are not.")


class LetterPage(Shown):
    """Copies that wait, the oldest first."""

    letters: list[ShownLetter]
    cursor: Next


class ShownDecision(Shown):
    """What became of a copy."""

    disposition: str
    rule: str
    reasons: list[str]
    email_id: UUID | None = None


class Decided(Shown):
    """What became of a letter: a decision for each copy that is in it, mostly one."""

    number: int
    decisions: list[ShownDecision]


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(route_class=Route)
    held = APIRouter(prefix="/held", tags=["held"], route_class=Route)
    dead = APIRouter(prefix="/dead-letters", tags=["dead-letters"], route_class=Route)

    async def page(
        waiting: Disposition, profile: str | None, owner: str | None, cursor: str | None, limit: int
    ) -> LetterPage:
        after = cursors.number(cursor) or 0
        found, goes_on = await operation.list_page(backing.database, waiting, Selection(profile, owner), after, limit)
        return LetterPage(letters=list(map(_shown, found)), cursor=cursors.write(goes_on) if goes_on else None)

    @held.get("", name="list", summary="List held mail", responses=answers())
    async def list_held(
        _: LettersRead, profile: Profile = None, owner: Owner = None, cursor: Cursor = None, limit: Limit = 100
    ) -> LetterPage:
        """Scope `letters:read`. With why each is held."""
        return await page(Disposition.HELD, profile, owner, cursor, limit)

    @held.post("/{number}/release", summary="Release held mail", responses=answers(404, 409))
    async def release(number: Number, staff: LettersDecide) -> Decided:
        """Scope `letters:decide`. It is decided on again, whatever held it; the owner's rule still judges it."""
        return await _one(operation.release(backing.database, backing.workers, backing.profiles, staff.name, [number]))

    @held.post("/{number}/drop", name="drop", summary="Drop held mail", responses=answers(404, 409))
    async def drop_held(number: Number, staff: LettersDecide) -> Decided:
        """Scope `letters:decide`. It is ignored, and its bytes are gone."""
        return await _one(operation.drop(backing.database, backing.profiles, Disposition.HELD, staff.name, [number]))

    @dead.get("", name="list", summary="List dead letters", responses=answers())
    async def list_dead(
        _: LettersRead, profile: Profile = None, owner: Owner = None, cursor: Cursor = None, limit: Limit = 100
    ) -> LetterPage:
        """Scope `letters:read`. With why each is dead."""
        return await page(Disposition.DEAD, profile, owner, cursor, limit)

    @dead.post("/{number}/replay", summary="Replay a dead letter", responses=answers(404, 409))
    async def replay(number: Number, staff: LettersDecide) -> Decided:
        """Scope `letters:decide`. It is decided on again, by today's rules."""
        return await _one(operation.replay(backing.database, backing.workers, backing.profiles, staff.name, [number]))

    @dead.post("/{number}/drop", name="drop", summary="Drop a dead letter", responses=answers(404, 409))
    async def drop_dead(number: Number, staff: LettersDecide) -> Decided:
        """Scope `letters:decide`. It is ignored, and its bytes are gone."""
        return await _one(operation.drop(backing.database, backing.profiles, Disposition.DEAD, staff.name, [number]))

    router.include_router(held)
    router.include_router(dead)
    return router


async def _one(ruled: AsyncIterator[Became]) -> Decided:
    [became] = [one async for one in ruled]
    if became.fault is not None:
        raise Conflict(became.fault)
    decisions = [
        ShownDecision(disposition=one.disposition, rule=one.rule, reasons=list(one.reasons), email_id=one.email_id)
        for one in became.decisions
    ]
    return Decided(number=became.letter.id, decisions=decisions)


def _shown(one: Letter) -> ShownLetter:
    return ShownLetter(
        number=one.id,
        profile=one.source.profile,
        mailbox=one.source.mailbox,
        folder=one.source.folder,
        owner=one.owner,
        rule=one.rule,
        reasons=list(one.reasons),
        received_at=one.received_at,
        decided_at=one.decided_at,
        kept_until=one.kept_until,
    )
