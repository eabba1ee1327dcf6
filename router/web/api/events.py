"""`/events`: what happened, and what happens: by waiting for the next, or as a stream."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from router.errors import DatabaseError
from router.operations.backing import Backing, Refused
from router.operations.events import BEGINNING, Event, Events, Place
from router.web.api.frame import EventsRead, Limit, Route, Shown
from router.web.api.guard import LASTS, STREAM, recognize
from router.web.api.problem import answers

LONGEST_WAIT: Final = 8
"""Seconds that a client may wait for an event; the guard ends what takes nine."""

_HEARTBEAT: Final = 5.0  # seconds; who takes nothing for ten is hung up on. The token is looked at again each time.
_AT_ONCE: Final = 20  # events that are read and written at once: what a client that is slow takes of our memory

_CURSOR: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,18})")  # what xid8 and bigint can hold in any case

After = Annotated[
    str | None,
    Query(max_length=64, description="`cursor` of the page before; `now` for what happens from now on; none: all."),
]
Wait = Annotated[
    float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for an event, where there is none yet.")
]


LastEventId = Annotated[
    str | None, Header(max_length=64, description="The last `id` that came, as clients send it by themselves.")
]


class Stream(StreamingResponse):
    """What goes on. However it ends, and if it never began: its place is free for another client at once."""

    media_type = STREAM

    def __init__(self, following: AsyncGenerator[Sequence[Event], None], valid: Callable[[], Awaitable[bool]]) -> None:
        self._following = following
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_written(following, valid), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._following.aclose()


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

    async def begin(after: str | None) -> Place:
        return await events.last() if after == "now" else _place(after) if after else BEGINNING

    @router.get("", summary="Follow what happens", responses=answers())
    async def follow(_: EventsRead, after: After = None, wait: Wait = 0, limit: Limit = 100) -> EventPage:
        """Scope `events:read`. With `wait` it is a long poll: the answer comes with the next event."""
        place = await begin(after)
        found = await events.after(place, limit, wait)
        return EventPage(events=list(map(_shown, found)), cursor=_cursor(found[-1].place if found else place))

    @router.get(
        "/stream",
        status_code=200,
        summary="Follow what happens, as a stream",
        response_class=Stream,
        responses=answers(),
    )
    async def stream(request: Request, _: EventsRead, after: After = None, last_event_id: LastEventId = None) -> Stream:
        """Scope `events:read`. Server-sent events (HTML, "Server-sent events"), each with its cursor as `id`.

        It ends after ten minutes, or when the token does. A client goes on from the last `id` that it took.
        """
        place = await begin(last_event_id or after)
        following = events.follow(place, _AT_ONCE, _HEARTBEAT)
        await anext(following)  # there is room; or it is told before the stream begins

        async def valid() -> bool:
            return await recognize(backing, request.headers) is not None

        return Stream(following, valid)

    return router


async def _written(
    following: AsyncIterator[Sequence[Event]], valid: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    until = loop.time() + LASTS
    yield "retry: 2000\n\n"
    # A client whose stream ends goes on where it was: so the end is how it is told that the database is away.
    with suppress(DatabaseError):
        while loop.time() <= until:
            # The server takes nothing, not even this, before there is room for it: what is read after it is not kept
            # until a slow client has taken what came before, while its email becomes private, or its token ends.
            yield ""
            found = await anext(following, None)
            # Before it is told: who may not hear it any more does not.
            if found is None or not await valid():
                return
            yield "".join(map(_line, found)) or ":\n\n"


def _line(event: Event) -> str:
    shown = _shown(event)
    return f"id: {shown.cursor}\nevent: {event.kind}\ndata: {shown.model_dump_json()}\n\n"


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
