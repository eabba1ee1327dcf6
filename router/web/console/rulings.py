"""Rulings, the latest first: who a sender was said to be, by whom, and their undoing. One's own, or everybody's."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError, UnknownName
from router.model.viewer import StaffRole
from router.operations import people, rulings
from router.operations.backing import Backing
from router.operations.unresolved import named
from router.web.console.frame import Page, as_number, form_of, redirect, render, sentence, viewer_of


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def shown(request: Request, status: int = 200, fault: str = "") -> Response:
        viewer, by = viewer_of(request), request.query_params.get("by", "").strip()[:64]
        listed, before = await rulings.list_page(
            backing.database, viewer, by or None, as_number(request.query_params.get("before", ""))
        )
        names = [one.person.name for one in await people.list_all(backing.database)] if viewer.administers else []
        more = "?" + urlencode({"by": by, "before": before}) if before else ""
        undone = None
        if (number := as_number(request.query_params.get("undone", ""))) is not None:
            with suppress(UnknownName):
                undone = await rulings.find(backing.database, viewer, number)
        return render(
            request, "rulings.html", status, rulings=listed, by=by, people=names, more=more, undone=undone,
            fault=fault, named=named, first=not request.query_params.get("before"),
        )  # fmt: skip

    async def show(request: Request) -> Response:
        return await shown(request)

    async def undo(request: Request) -> Response:
        form = form_of(request)
        try:
            done = await rulings.undo(backing.database, viewer_of(request), as_number(form.get("ruling", "")) or 0)
        except RouterError as error:
            return await shown(request, 409, f"{sentence(error)} Nothing was changed.")
        return redirect(request, "/rulings?" + urlencode({"by": form.get("by", ""), "undone": done.id}))

    return [
        Route("/rulings", show, methods=["GET"]),
        Route("/rulings/undo", undo, methods=["POST"]),
    ]


PAGE = Page("Rulings", "/rulings", routes, StaffRole.DECIDE)
