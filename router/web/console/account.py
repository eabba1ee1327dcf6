"""A person's own: password, passkeys, and sessions in all browsers."""

from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.operations import passkeys, passwords, sign_in
from router.operations.backing import Backing, Refused
from router.operations.passkeys import Site, site_of
from router.operations.sign_in import Barred
from router.web.console.frame import (
    Page,
    as_number,
    client_of,
    form_of,
    origin_of,
    redirect,
    render,
    sentence,
    viewer_of,
    who,
)

_FRESH: Final = {"Cache-Control": "no-store"}


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them; passkeys, where they can work."""
    site = site_of(backing.settings)
    return [*_routes(backing), *(_passkey_routes(backing, site) if site is not None else ())]


def _routes(backing: Backing) -> Sequence[Route]:
    async def show(request: Request) -> Response:
        return await _shown(backing, request)

    async def change_password(request: Request) -> Response:
        form = form_of(request)
        if not backing.settings.console_passwords:
            return await _shown(backing, request, 422, "Nobody signs in here by a password.")
        if form.get("password", "") != form.get("again", ""):
            return await _shown(backing, request, 422, "The two new passwords are not the same.")
        change = sign_in.change_password(
            backing.database, who(request), form.get("old", ""), form.get("password", ""), client_of(request)
        )
        return await _done(backing, request, change, "password")

    async def end(request: Request) -> Response:
        number = as_number(form_of(request).get("session", ""))
        if number is not None:
            await sign_in.end_session(backing.database, who(request), number, client_of(request))
        return redirect(request, "/account?done=session")

    return [
        Route("/account", show, methods=["GET"]),
        Route("/account/password", change_password, methods=["POST"]),
        Route("/account/sessions/end", end, methods=["POST"]),
    ]


def _passkey_routes(backing: Backing, site: Site) -> Sequence[Route]:
    async def begin(request: Request) -> Response:
        try:
            options = await passkeys.begin_to_add(backing.database, site, who(request))
        except Refused as error:
            return JSONResponse({"fault": sentence(error)}, 409, headers=_FRESH)
        return JSONResponse(options, headers=_FRESH)

    async def add(request: Request) -> Response:
        form = form_of(request)
        addition = passkeys.add(
            backing.database, site, who(request), form.get("name", ""), form.get("credential", ""), client_of(request)
        )
        return await _done(backing, request, addition, "passkey-added")

    async def remove(request: Request) -> Response:
        number = as_number(form_of(request).get("passkey", ""))
        if number is not None:
            await passkeys.remove(backing.database, who(request), number, client_of(request))
        return redirect(request, "/account?done=passkey-removed")

    return [
        Route("/account/passkeys/options", begin, methods=["POST"]),
        Route("/account/passkeys/add", add, methods=["POST"]),
        Route("/account/passkeys/remove", remove, methods=["POST"]),
    ]


async def _done(backing: Backing, request: Request, action: Awaitable[object], done: str) -> Response:
    """Do what a form asks, and show the page anew: with what was done, or with why it is refused."""
    try:
        await action
    except (Refused, Barred, passwords.Busy) as error:
        return await _shown(backing, request, 422, sentence(error))
    return redirect(request, f"/account?done={done}")


async def _shown(backing: Backing, request: Request, status: int = 200, fault: str = "") -> Response:
    settings, this = backing.settings, who(request)
    site = site_of(settings)
    return render(
        request,
        "account.html",
        status,
        sessions=await sign_in.list_sessions(backing.database, viewer_of(request)),
        mine=await passkeys.list_mine(backing.database, this),
        this=this,
        fault=fault,
        done="" if fault else request.query_params.get("done", ""),
        shortest=passwords.SHORTEST,
        passwords=settings.console_passwords,
        provider=settings.oidc_title or "the provider",
        site=site,
        is_there=site is not None and site.origin == origin_of(request),
    )


PAGE = Page("", "/account", routes)
