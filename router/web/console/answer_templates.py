"""Templates of answers: which there are, what is wrong with them, and what one makes of an email."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from router.errors import UnknownName
from router.model.viewer import StaffRole
from router.operations import templates
from router.operations.backing import Backing
from router.operations.templates import Preview
from router.web.console.frame import Page, render, sentence, url

_FRAMED: Final = {
    # What a template makes is the CRM's HTML: it is shown, runs nothing, loads nothing, and leads nowhere.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox",
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
}


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""
    turn = asyncio.Semaphore(1)  # each preview starts a process; who waits too long is told so by the guard

    async def make(request: Request) -> Preview:
        asked = request.query_params
        message_id = asked.get("message_id", "").replace("\0", "").strip()[:1000]
        async with turn:
            return await templates.preview(
                backing.database, asked.get("name", "").replace("\0", ""), message_id or None
            )

    async def show(request: Request) -> Response:
        return render(request, "templates.html", templates=await templates.list_all(backing.database))

    async def preview(request: Request) -> Response:
        asked = request.query_params
        name, message_id = asked.get("name", ""), asked.get("message_id", "").strip()
        made, fault, status = None, "", 200
        try:
            made = await make(request)
        except UnknownName as error:
            fault, status = sentence(error), 404
        framed = url(request, "/profiles/templates/html?" + urlencode({"name": name, "message_id": message_id}))
        return render(
            request, "template.html", status, name=name, message_id=message_id, preview=made, fault=fault, framed=framed
        )

    async def html(request: Request) -> Response:
        made = (await make(request)).made
        return HTMLResponse((made.html if made else None) or "", headers=_FRAMED)

    return [
        Route("/profiles/templates", show, methods=["GET"]),
        Route("/profiles/templates/preview", preview, methods=["GET"]),
        Route("/profiles/templates/html", html, methods=["GET"]),
    ]


PAGE = Page("Templates of answers", "/profiles/templates", routes, StaffRole.ADMINISTER, everywhere=True, aside=True)
