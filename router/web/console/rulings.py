"""What was ruled lately, and how it is taken back: a person's own rulings; for administrators, all."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model.viewer import StaffRole
from router.operations.backing import Backing
from router.operations.queue import ruling
from router.web.console.frame import Page, render, viewer_of
from router.web.console.queue.asked import number_of

_ROWS = 50


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def show(request: Request) -> Response:
        viewer = viewer_of(request)
        before = number_of(request.query_params.get("before", ""))
        by = None if viewer.administers else viewer.name
        found = await ruling.recent(backing.database, by, before=before, limit=_ROWS)
        goes_on = found[-1].id if len(found) == _ROWS else None
        return render(request, "rulings.html", rulings=found, goes_on=goes_on, before=before)

    return [Route("/rulings", show)]


PAGE = Page("Rulings", "/rulings", routes, StaffRole.DECIDE)
