"""What changes in the queue as it happens, by server-sent events; and who looks at whom."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from router.errors import DatabaseError, UnknownName
from router.operations.backing import Backing
from router.operations.queue import care
from router.operations.queue.live import Live
from router.web.console.frame import form_of, viewer_of
from router.web.console.guard import is_as_before
from router.web.console.queue.asked import seen_by

_HEARTBEAT: Final = 5.0  # seconds; who takes nothing for ten is hung up on
_LASTS: Final = 300.0  # seconds; then the browser asks again
_MOST: Final = 150  # streams of this process; a page that has none still works, and asks again


def routes(backing: Backing, listening: Live) -> Sequence[Route]:
    """Serve both."""
    streams = 0

    async def stream(request: Request) -> AsyncIterator[bytes]:
        nonlocal streams
        streams += 1
        try:
            until = asyncio.get_running_loop().time() + _LASTS
            with suppress(DatabaseError), listening.page(seen_by(viewer_of(request))) as page:
                # What changed between the page and this, or while the browser was away, nobody has told it.
                yield b"retry: 2000\n" + _MANY
                while asyncio.get_running_loop().time() < until:
                    changed = await page.next(_HEARTBEAT)
                    # Who has signed out meanwhile, or may see other mail, is told nothing any more.
                    if not await is_as_before(request, backing):
                        return
                    if changed is None:
                        yield b":\n\n"
                    elif changed.senders is None:
                        yield _MANY
                    else:
                        yield _event("senders", sorted(changed.senders))
        finally:
            streams -= 1

    async def events(request: Request) -> Response:
        if streams >= _MOST:
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


def _event(name: str, senders: Sequence[str]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(senders)}\n\n".encode()


_MANY: Final = _event("many", ())
