"""The API under /api/v1: what the CRM does by SQL and the staff by commands, over HTTP, with a token.

    emails      /emails
    unresolved  /unresolved
    rulings     /rulings
    letters     /held, /dead-letters
    owners      /owners
    records     /records
    explain     /explain
    simulations /simulations
    system      /sources, /relays, /audit
    events      /events
    webhooks    /webhooks
    guard       tokens, sizes, time, and faults, before and around every request
    frame       scopes, and what all operations share
    problem     what went wrong, as RFC 9457 has it
    cursor      where a page ends
    text        what the database can hold

Whoever imports it loads FastAPI: only a router with a console does.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from router import __version__
from router.errors import ContentRefused, UnknownName
from router.operations.backing import Backing, Changed, Conflict, Refused
from router.operations.events import Crowded
from router.web.api import (
    emails,
    events,
    explain,
    letters,
    owners,
    records,
    rulings,
    simulations,
    system,
    unresolved,
    webhooks,
)
from router.web.api.frame import on_changed, on_conflict, on_crowded, on_http_error, on_invalid, on_refused, on_unknown
from router.web.api.guard import Guard
from router.web.api.problem import Problem

_SAYS: Final = """Sends emails, tells what became of them, names unresolved senders, and follows what happens.

Every request has a token, as `email-router staff token` prints it. What went wrong is `application/problem+json`."""


def make_api(backing: Backing) -> FastAPI:
    """Make the application; its paths are without /api/v1."""
    api = FastAPI(
        title="CRM email router",
        version=__version__,
        description=_SAYS,
        openapi_url=None,  # FastAPI writes it anew for each who asks
        docs_url=None,  # such pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_name,
        exception_handlers={
            HTTPException: on_http_error,
            RequestValidationError: on_invalid,
            UnknownName: on_unknown,
            Changed: on_changed,
            Conflict: on_conflict,
            Crowded: on_crowded,
            Refused: on_refused,
            ContentRefused: on_refused,
        },
    )
    api.add_middleware(Guard, backing=backing)
    for one in (emails, records, explain, simulations, unresolved, rulings, letters, owners, system, events, webhooks):
        api.include_router(one.routes(backing))

    def document() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _document(api)
        return api.openapi_schema

    api.openapi = document  # type: ignore[method-assign]  # as FastAPI's own page has it
    api.add_route("/openapi.json", _Written(document).answer, methods=["GET"], include_in_schema=False)
    return api


class _Written:
    """The document as it is sent. It needs no token, so it is made once, beside the loop: mail goes on meanwhile."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self._document = document
        self._making: asyncio.Task[tuple[list[Any], bytes]] | None = None

    async def answer(self, request: Request) -> Response:
        """Answer with it; behind a proxy's prefix it names that, too."""
        if self._making is None or (self._making.done() and self._making.exception() is not None):
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
        servers, rest = await asyncio.shield(self._making)
        here = {"url": request.scope.get("root_path", "").rstrip("/")}
        if here["url"] and here not in servers:
            servers = [here, *servers]
        body = b'{"servers":' + json.dumps(servers).encode() + b"," + rest
        return Response(body, media_type="application/json")

    def _make(self) -> tuple[list[Any], bytes]:
        """Make it: its servers, and what comes after them."""
        document = dict(self._document())
        servers = document.pop("servers")
        return servers, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode().removeprefix(b"{")


def _name(route: APIRoute) -> str:
    """Name an operation, as generated clients call it: emails_post."""
    return f"{route.tags[0]}_{route.name}"


def _document(api: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=api.title,
        version=api.version,
        openapi_version="3.1.0",
        description=api.description,
        routes=api.routes,
        servers=[{"url": "/api/v1"}],
    )
    parts = made.setdefault("components", {})
    inner = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts.setdefault("schemas", {}).update(inner.pop("$defs", {}) | {"Problem": inner})
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"token": []}]
    return made
