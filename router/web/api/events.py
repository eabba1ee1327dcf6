"""`/events`: what happened, and, by waiting for it, what happens."""

import re
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from router.operations.backing import Backing, Refused
from router.operations.events import BEGINNING, Event, Events, Place
from router.web.api.frame import EventsRead, Limit, Route, Shown
from router.web.api.problem import answers

LONGEST_WAIT: Final = 8
"""Seconds that a client may wait for an event; the guard ends what takes nine."""

_CURSOR: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,18})")  # what xid8 and bigint can hold in any case

After = Annotated[
    str | None,
    Query(max_length=64, description="`cursor` of the page before; `now` for what happens from now on; none: all."),
]
Wait = Annotated[
    float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for an event, where there is none yet.")
]


class ShownEvent(Shown):
    """Something that happened."""

    cursor: str
    at: datetime
    kind: str
    email_id: UUID | None
    details: dict[str, Any] = Field(description="As docs/database.md tells for each kind.")


class EventPage(Shown):
    """Events in their order; perhaps none."""

    events: list[ShownEvent]
    cursor: str = Field(description="Hand it back as `after`: what comes next follows it, and nothing is missed.")


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/events", tags=["events"], route_class=Route)
    events = Events(backing)

    @router.get("", summary="Follow what happens", responses=answers())
    async def follow(_: EventsRead, after: After = None, wait: Wait = 0, limit: Limit = 100) -> EventPage:
        """Scope `events:read`. With `wait` it is a long poll: the answer comes with the next event."""
        place = await events.last() if after == "now" else _place(after) if after else BEGINNING
        found = await events.after(place, limit, wait)
        return EventPage(events=list(map(_shown, found)), cursor=_cursor(found[-1].place if found else place))

    return router


def _shown(event: Event) -> ShownEvent:
    return ShownEvent(
        cursor=_cursor(event.place), at=event.at, kind=event.kind, email_id=event.email_id, details=event.details
    )


def _cursor(place: Place) -> str:
    return f"{place.transaction}-{place.id}"


def _place(cursor: str) -> Place:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise Refused("query.after: it is no cursor of events: hand it back as it came, or write now")
    return Place(int(match[1]), int(match[2]))
