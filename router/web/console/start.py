"""Where one begins: the first page of the header that is for the person."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.web.console.frame import Page, redirect, render
from router.web.console.guard import to_sign_in


def routes(pages: Sequence[Page]) -> Sequence[Route]:
    """Serve the start."""

    async def start(request: Request) -> Response:
        signed_in = request.state.who
        if signed_in is None:
            return to_sign_in(request)
        first = next((one for one in pages if one.name and one.is_for(signed_in.viewer)), None)
        return redirect(request, first.path) if first else render(request, "nothing.html")

    return [Route("/", start)]
