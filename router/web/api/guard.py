"""What stands before every request: whose token it has, how large it is, how long it may take, and what it may break.

It comes before anything of the body is read, so who has no token cannot have much of us.

A request has nine seconds. A stream of events has these until it begins, and eleven minutes from then on: it ends by
itself after ten, and what is written to a client who takes it too slowly for that is cut off.
"""

import asyncio
from typing import Final
from weakref import WeakValueDictionary

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import DatabaseAway, DatabaseError, whereabouts
from router.operations import staff_tokens
from router.operations.backing import Backing
from router.operations.staff_tokens import StaffToken
from router.web.api.problem import problem

_log = structlog.get_logger(__name__)

STREAM: Final = "text/event-stream"
"""The kind of what goes on."""

LASTS: Final = 600.0
"""Seconds that a stream goes on; then its client connects again: to another router, where this one is replaced."""

MOST_BYTES: Final = 32 << 20
"""Bytes of a request's body, at most."""

_SMALL: Final = 1 << 20  # bytes; larger bodies take turns
_LARGE_AT_ONCE: Final = 2  # and of one token, one
_PATIENCE: Final = 9.0  # seconds; after 10 the console ends the connection without a word
_STREAM_PATIENCE: Final = LASTS + 60.0  # seconds
_RETRY_AFTER: Final = {"Retry-After": "5"}
_PUBLIC: Final = "/openapi.json"


class Guard:
    """An application behind its tokens. `request.state.staff` is the StaffToken there."""

    def __init__(self, app: ASGIApp, backing: Backing) -> None:
        self._app = app
        self._backing = backing
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start" and Headers(raw=message["headers"]).get(
                "content-type", ""
            ).startswith(STREAM):
                patience.reschedule(asyncio.get_running_loop().time() + _STREAM_PATIENCE)
            await send(message)

        try:
            async with asyncio.timeout(_PATIENCE) as patience:
                await self._serve(scope, receive, send_on)
                return
        except DatabaseAway as error:
            _log.debug("a request to the API was not served", reason=str(error))
            answer = problem(503, "the database does not answer now: try again later", headers=_RETRY_AFTER)
        except TimeoutError:
            _log.debug("a request to the API was not served", reason="it took too long")
            words = (
                f"this took longer than {_PATIENCE:.0f} seconds, by its own size or by what others do: try again later"
            )
            answer = problem(503, words, headers=_RETRY_AFTER)
        except DatabaseError as error:
            _log.warning("the database refused a request to the API", reason=str(error))
            answer = problem(500, "the database refuses this; the router's log says why")
        except Exception as error:  # noqa: BLE001  # a bug: its words may hold those of private mail
            _log.error("a bug of the router's own, in the API", reason=whereabouts(error))
            answer = problem(500, "a bug of the router's own; its log says where")
        if not begun:
            await answer(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if _path(scope) != _PUBLIC:
            staff = await recognize(self._backing, headers)
            if staff is None:
                words = "a valid token is needed: Authorization: Bearer …, as email-router staff token prints it"
                await problem(401, words)(scope, receive, send)
                return
            scope.setdefault("state", {})["staff"] = staff
        length = headers.get("content-length", "0")
        size = int(length) if length.isascii() and length.isdigit() else 0
        if size > MOST_BYTES:
            await _too_large()(scope, receive, send)
        elif size > _SMALL:
            # A token waits for itself first: one client, however slow, takes no turn of another's.
            async with self._turn_of(scope), self._large:
                await self._app(scope, _bounded(receive, MOST_BYTES), send)
        else:
            # Without a length it comes in chunks: there is no turn to wait for, so less of it is taken.
            await self._app(scope, _bounded(receive, _SMALL), send)

    def _turn_of(self, scope: Scope) -> asyncio.Lock:
        """The turn of a request's token, which is forgotten with the last request that waits for it."""
        name = scope["state"]["staff"].name if "staff" in scope.get("state", {}) else ""
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = asyncio.Lock()
        return turn


async def recognize(backing: Backing, headers: Headers) -> StaffToken | None:
    """Find whose token a request has; None where it has none that is valid."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return await staff_tokens.recognize(backing.database, token.strip()) if scheme.lower() == "bearer" else None


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _too_large() -> ASGIApp:
    return problem(413, f"a request may have {MOST_BYTES >> 20} MB, and {_SMALL >> 20} MB without Content-Length")


def _bounded(receive: Receive, most: int) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, "the request is too large")
        return message

    return bounded
