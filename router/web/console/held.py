"""Held mail: why each message is held back, and the two things that are done with it, each asked for twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError
from router.model import Disposition
from router.model.viewer import StaffRole
from router.operations import letters
from router.operations.backing import Backing
from router.operations.letters import Became
from router.operations.queue import pages, ruling
from router.web.console.frame import Page, form_of, render, sentence, viewer_of
from router.web.console.queue.asked import number_of, seen_by, uuid_of

_ROWS: Final = 50
_PATIENCE: Final = 7.0  # seconds that a page waits: a message may have to be fetched again
_MOST: Final = 8  # that are released at once


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""
    under_way: set[asyncio.Task[str]] = set()

    async def shown(request: Request, status: int = 200, fault: str = "", done: str = "") -> Response:
        viewer = viewer_of(request)
        owner = uuid_of(request.query_params.get("owner", ""))
        before = number_of(request.query_params.get("before", ""))
        owners = frozenset((owner,)) if owner else None
        found = await pages.held(backing.database, seen_by(viewer), owners=owners, before=before, limit=_ROWS)
        values = {"held": found.held, "goes_on": found.goes_on, "before": before, "fault": fault, "done": done}
        decides = seen_by(viewer, StaffRole.DECIDE)
        rows = [(one, decides is None or one.owner_id in decides) for one in found.held]
        return render(request, "held.html", status, **{**values, "held": rows})

    async def show(request: Request) -> Response:
        return await shown(request)

    async def decide(request: Request) -> Response:
        form, viewer = form_of(request), viewer_of(request)
        number, what = number_of(form.get("held", "")) or 0, form.get("do", "")
        if form.get("confirmed") != "1" or what not in ("release", "drop"):
            return await shown(request, 409, "Nothing was done: what is held is decided on by the same button twice.")
        try:
            await ruling.may_rule_on_held(backing.database, seen_by(viewer, StaffRole.DECIDE), [number])
            if len(under_way) >= _MOST:
                return await shown(request, 503, "Others are being released. Nothing was done: try it in a moment.")
            task = asyncio.create_task(_decide(backing, viewer.name, number, what), name="held")
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            done = "It takes long to fetch the message again. It goes on: look at this page in a minute."
            with suppress(TimeoutError):
                # Shielded: who closes the page does not stop what was begun.
                done = await asyncio.wait_for(asyncio.shield(task), _PATIENCE)
        except RouterError as error:
            return await shown(request, 409, sentence(error))
        return await shown(request, done=done)

    return [Route("/held", show), Route("/held", decide, methods=["POST"])]


async def _decide(backing: Backing, by: str, number: int, what: str) -> str:
    try:
        return await _told(_begun(backing, by, number, what), what)
    except RouterError as error:
        return sentence(error)


def _begun(backing: Backing, by: str, number: int, what: str) -> AsyncIterator[Became]:
    if what == "drop":
        return letters.drop(backing.database, backing.profiles, Disposition.HELD, by, [number])
    return letters.release(backing.database, backing.workers, backing.profiles, by, [number])


async def _told(found: AsyncIterator[Became], what: str) -> str:
    """Put what became of a message."""
    async for became in found:
        if became.fault is not None:
            return f"It is held as before: {became.fault}."
        if became.waits:
            reasons = "; ".join(became.decisions[0].reasons)
            return f"It waits again: {reasons}."
        words = {"drop": "It is dropped, and its content is gone", "release": "It is released"}[what]
        return f"{words}: {became.decisions[0].disposition}."
    return "It was not there any more."


PAGE = Page("Held", "/held", routes)
