"""Signing in by the provider of the organization: the way there, the way back, and signing out of it."""

import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from router.operations import provider as signing
from router.operations.backing import Backing
from router.operations.provider import LASTS, RETURN, Attempt, NotSignedIn, Provider, provider_of
from router.operations.sign_in import Barred
from router.web.console.frame import client_of, redirect
from router.web.console.sign_in import begun, sign_in_page, signed_out, within

ATTEMPT_COOKIE: Final = "__Host-email-router-attempt"

_LONGEST_PATH: Final = 1000  # characters: a cookie has 4096


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them; signing out is said here in place of where there is no provider."""
    provider = provider_of(backing.settings)
    assert provider is not None  # who has none does not load this
    ways = _Ways(backing, provider)
    return [
        Route("/sign-in/provider", ways.go, methods=["GET"]),
        Route(RETURN, ways.back, methods=["GET"]),
        Route("/signed-out", ways.left, methods=["GET"]),
    ]


class _Ways:
    def __init__(self, backing: Backing, provider: Provider) -> None:
        self._backing = backing
        self._settings = backing.settings
        self._provider = provider

    async def go(self, request: Request) -> Response:
        """Send the browser to the provider."""
        to = within(request.query_params.get("to", "")[:_LONGEST_PATH])
        if request.state.who is not None:
            return redirect(request, to)
        here = self._settings.console_link
        if request.headers.get("host") != urlsplit(here).netloc and "here" not in request.query_params:
            # The browser has to begin where it comes back to, or its cookie is not there.
            return RedirectResponse(f"{here}/sign-in/provider?{urlencode({'to': to, 'here': ''})}", 303)
        attempt = Attempt.begin(to, time.time())
        try:
            there = await signing.begin(self._provider, self._settings, attempt)
        except NotSignedIn as error:
            return sign_in_page(request, self._settings, to, 503, fault=str(error))
        answer = RedirectResponse(there, 303, headers={"Cache-Control": "no-store"})
        answer.set_cookie(
            ATTEMPT_COOKIE, attempt.kept, max_age=LASTS, path="/", secure=True, httponly=True, samesite="lax"
        )
        return answer

    async def back(self, request: Request) -> Response:
        """Take a browser that comes back; it comes once for each time it went."""
        answer = await self._came(request)
        answer.delete_cookie(ATTEMPT_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    async def left(self, request: Request) -> Response:
        """Say where else one has to sign out."""
        if request.state.proxy_person:
            return await signed_out(request)
        return await signed_out(request, await signing.end_url(self._provider, self._settings), self._provider.title)

    async def _came(self, request: Request) -> Response:
        if request.state.who is not None:
            return redirect(request, "/")
        # A parameter that stands there twice may mean one thing to us, and another to who looked at it before.
        said = dict(request.query_params)
        is_plain = len(said) == len(request.query_params.multi_items())
        kept = request.cookies.get(ATTEMPT_COOKIE, "")
        attempt = Attempt.read(kept, said.get("state", ""), time.time()) if is_plain else None
        if attempt is None:
            words = "This did not begin in this browser, or more than ten minutes ago. Nothing was done: begin again."
            return sign_in_page(request, self._settings, "/", 403, fault=words)
        to = within(attempt.to)
        try:
            session, device = await signing.finish(
                self._backing.database, self._provider, self._settings, attempt, said, client_of(request)
            )
        except Barred as error:
            answer = sign_in_page(request, self._settings, to, 429, fault=str(error))
            answer.headers["Retry-After"] = str(error.seconds)
            return answer
        except NotSignedIn as error:
            return sign_in_page(request, self._settings, to, 503 if error.later else 403, fault=str(error))
        return begun(redirect(request, to), session, device)
