"""What is served: whether this process lives, whether it is ready, and its numbers.

    /healthz    200 while the event loop runs, also while the router waits for a profile or its database
    /readyz     200 if it can do its work, else 503 with the reasons
    /metrics    for Prometheus
    /api/v1     the API, where there is one: router/web/api
    /           the pages, where there are: router/web/console

However many ask at once, each of the first three answers is made once for all of them: nobody can keep the database or
a thread busy. API and pages serve a number of requests at once, those of open pages that listen among them: whoever
comes beyond that is told to come again. Neither keeps the other from being served, nor a probe.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from router import __version__, metrics
from router.group import Group
from router.web.forwarded import Forwarded, Private, Proxies
from router.web.headed import Headed

Reasons = Callable[[], Awaitable[Sequence[str]]]
"""Why this process cannot do its work, in words; empty if it can. Ends within a few seconds, and raises nothing."""

Answer = TypeVar("Answer")

_FRESH: Final = {"Cache-Control": "no-store"}

_MOST_PAGES: Final = 220
_MOST_API: Final = 80
"""Requests at once; fewer than those are open pages and long polls, which have bounds of their own."""


def console_app(
    reasons: Reasons, api: ASGIApp | None = None, pages: ASGIApp | None = None, proxies: Proxies | None = None
) -> ASGIApp:
    """Make the application; `reasons` answers for /readyz, `api` all under /api/v1, and `pages` everything else.

    The last two serve nobody whom others could listen to.
    """
    asked: Group[None, Sequence[str]] = Group(_once(reasons))
    scraped: Group[None, bytes] = Group(_once(lambda: asyncio.to_thread(metrics.exposition)))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive", "version": __version__}, headers=_FRESH)

    async def readyz(_: Request) -> Response:
        why_not = await asked.add(None)
        if why_not:
            return JSONResponse({"status": "not ready", "reasons": list(why_not)}, 503, headers=_FRESH)
        return JSONResponse({"status": "ready"}, headers=_FRESH)

    async def numbers(_: Request) -> Response:
        return Response(await scraped.add(None), headers={"Content-Type": metrics.CONTENT_TYPE, **_FRESH})

    routes: list[BaseRoute] = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", numbers)]
    if api is not None:
        mounted = Mount("/api/v1", Bounded(Private(api, as_json=True), _MOST_API, as_json=True))
        mounted.path_regex = _UNDER_API
        routes.append(mounted)
    if pages is not None:
        routes.append(Mount("/", Bounded(Private(pages), _MOST_PAGES)))
    return Forwarded(Headed(Starlette(routes=routes)), proxies or Proxies())


class Bounded:
    """An application that serves at most so many requests at once."""

    def __init__(self, app: ASGIApp, most: int, *, as_json: bool = False) -> None:
        self._app = app
        self._most = most
        self._as_json = as_json
        self._served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._served >= self._most:
            await self._refusal()(scope, receive, send)
            return
        self._served += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._served -= 1

    def _refusal(self) -> Response:
        headers = {**_FRESH, "Retry-After": "5"}
        words = f"{self._most} requests are under way here already: try again in a few seconds"
        if not self._as_json:
            return PlainTextResponse(words + "\n", 503, headers=headers)
        problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": words}
        return JSONResponse(problem, 503, headers=headers, media_type="application/problem+json")


_UNDER_API: Final = re.compile(r"^/api/v1/(?P<path>.*)$", re.DOTALL)
"""A path with a line feed is the API's to refuse, too; Mount's own pattern does not know it."""


def _once(make: Callable[[], Awaitable[Answer]]) -> Callable[[Sequence[None]], Awaitable[Sequence[Answer]]]:
    """Make one answer for all who ask at once."""

    async def flush(askers: Sequence[None]) -> Sequence[Answer]:
        return [await make()] * len(askers)

    return flush
