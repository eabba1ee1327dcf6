"""Signing in with a passkey: what the browser has signed, and what comes of it."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.operations import passkeys
from router.operations.backing import Backing, Refused
from router.operations.passkeys import Site, site_of
from router.operations.sign_in import Barred
from router.web.console.frame import client_of, form_of, redirect
from router.web.console.sign_in import begun, sign_in_page, within


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them; where no passkey could work, there is nothing."""
    site = site_of(backing.settings)
    return _routes(backing, site) if site is not None else []


def _routes(backing: Backing, site: Site) -> Sequence[Route]:
    async def begin(request: Request) -> Response:
        try:
            options = await passkeys.begin(backing.database, site, client_of(request))
        except Barred as error:
            headers = {"Retry-After": str(error.seconds), "Cache-Control": "no-store"}
            return JSONResponse({"fault": str(error)}, 429, headers=headers)
        return JSONResponse(options, headers={"Cache-Control": "no-store"})

    async def enter(request: Request) -> Response:
        form = form_of(request)
        to = within(form.get("to", ""))
        try:
            session, device = await passkeys.finish(
                backing.database, site, form.get("credential", ""), client_of(request)
            )
        except Refused as error:
            return sign_in_page(request, backing.settings, to, 403, fault=str(error))
        return begun(redirect(request, to), session, device)

    return [
        Route("/sign-in/passkey/options", begin, methods=["POST"]),
        Route("/sign-in/passkey", enter, methods=["POST"]),
    ]
