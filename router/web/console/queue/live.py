"""What changes in the queue as it happens, by server-sent events; and who looks at whom.

    event: senders    {"senders": [address, …], "html": what the page shows of these by now; null: ask for it yourself}
    event: many       the page is to be read again

Fifty pages hear of one email at the same moment. So what has changed is read and rendered once for all who see the same
mail by the same filters, and handed to them: if each page asked, that would be fifty requests.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from router.errors import DatabaseError, UnknownName
from router.group import Group
from router.operations.backing import Backing
from router.operations.queue import Seen, care, pages
from router.operations.queue.live import MOST_PAGES, Live
from router.web.console.frame import form_of, viewer_of
from router.web.console.guard import is_as_before
from router.web.console.queue.asked import Filters, filters_of, seen_by
from router.web.console.queue.changed import changed_rows, is_personal

_HEARTBEAT: Final = 4.0  # seconds; who takes nothing for ten is hung up on
_LOOK: Final = 3.5  # seconds; for so long at most somebody is told who has signed out, or may see other mail by now
_REST: Final = 0.5  # seconds after an event until the next of the same page: what comes meanwhile comes together
_REST_OF_MANY: Final = 4.0  # seconds after one by which the page is read again
_GATHERING: Final = 0.01  # seconds in which pages that have heard the same ask for it together
_LASTS: Final = 300.0  # seconds; then the browser asks again
_MOST_OF_ONE: Final = 20  # of one person, in all tabs and browsers: who opens more keeps nobody else from theirs


def routes(backing: Backing, listening: Live) -> Sequence[Route]:
    """Serve both."""
    streams: Counter[int] = Counter()
    changes = _Changes(backing)

    async def stream(request: Request) -> AsyncIterator[bytes]:
        person = viewer_of(request).id
        streams[person] += 1
        try:
            loop = asyncio.get_running_loop()
            looked, until = loop.time(), loop.time() + _LASTS
            shown = _Shown(request, seen_by(viewer_of(request)), filters_of(request))
            with suppress(DatabaseError), listening.page(shown.seen) as page:
                # What changed between the page and this, or while the browser was away, nobody has told it.
                yield b"retry: 2000\n" + _MANY
                while loop.time() < until:
                    # The server takes nothing, not even this, before there is room for it: rows are read when a slow
                    # browser has taken what came before, and do not wait for that while the mail becomes private.
                    yield b""
                    changed = await page.next(_HEARTBEAT)
                    if loop.time() > looked + _LOOK:
                        if not await is_as_before(request, backing):
                            return
                        looked = loop.time()
                    if changed is None:
                        yield b":\n\n"
                    elif changed.senders is None:
                        yield _MANY
                        await asyncio.sleep(_REST_OF_MANY)
                    else:
                        yield await changes.event(shown, tuple(sorted(changed.senders)))
                        await asyncio.sleep(_REST)
        finally:
            streams[person] -= 1

    async def events(request: Request) -> Response:
        if streams.total() >= MOST_PAGES or streams[viewer_of(request).id] >= _MOST_OF_ONE:
            return Response(status_code=503, headers={"Retry-After": "60"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream(request), media_type="text/event-stream", headers=headers)

    async def look(request: Request) -> Response:
        form, viewer = form_of(request), viewer_of(request)
        with suppress(UnknownName):  # somebody has settled the sender: the page hears so
            await care.look(
                backing.database,
                seen_by(viewer),
                form.get("address", ""),
                viewer.name,
                away=form.get("away") == "1",
            )
        return Response(status_code=204)

    return [Route("/queue/events", events), Route("/queue/look", look, methods=["POST"])]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a page shows."""

    request: Request
    seen: Seen
    filters: Filters

    @property
    def key(self) -> object:
        """Pages that have the same show the same."""
        return self.seen, self.filters, self.request.scope.get("root_path", "")


class _Changes:
    """Reads what has changed, once for all pages that ask for the same at the same time."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._asked: Group[tuple[_Shown, tuple[str, ...]], bytes] = Group(self._answer, pause=lambda: _GATHERING)

    async def event(self, shown: _Shown, senders: tuple[str, ...]) -> bytes:
        """Make the event that tells a page of these senders."""
        try:
            return await self._asked.add((shown, senders))
        except DatabaseError:
            return _of_senders(senders, None)

    async def _answer(self, asked: Sequence[tuple[_Shown, tuple[str, ...]]]) -> Sequence[bytes]:
        read: dict[object, pages.Changes] = {}
        made: dict[object, bytes] = {}
        events = []
        for shown, senders in asked:
            key: object = (shown.key, senders)
            if key not in read:
                read[key] = await pages.changed(
                    self._backing.database, shown.seen, senders, owners=shown.filters.owners
                )
            if is_personal(read[key]):
                key = (key, viewer_of(shown.request).name)
            if key not in made:
                html = bytes(changed_rows(shown.request, shown.filters, read[shown.key, senders]).body).decode()
                made[key] = _of_senders(senders, html)
            events.append(made[key])
        return events


def _of_senders(senders: Sequence[str], html: str | None) -> bytes:
    return _event("senders", {"senders": senders, "html": html})


def _event(name: str, told: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(told)}\n\n".encode()


_MANY: Final = _event("many", None)
