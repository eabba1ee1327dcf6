"""What stands before and around every page: sessions, roles, forms, time, faults, and protective headers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import DatabaseAway, DatabaseError, RouterError, UnknownName, whereabouts
from router.model.viewer import StaffRole
from router.operations import sign_in
from router.operations.backing import Backing
from router.operations.passwords import Busy
from router.operations.sign_in import Client
from router.web.console.frame import Page, is_ours, origin_of, redirect, say, sentence, url

_log = structlog.get_logger(__name__)

SESSION_COOKIE: Final = "__Host-email-router"
DEVICE_COOKIE: Final = "__Host-email-router-device"

_PATIENCE: Final = 9.0  # seconds until an answer begins; after 10 the console ends the connection without a word
_MOST_BYTES: Final = 64 << 10  # of a form
_MOST_FIELDS: Final = 200
_SAFE: Final = ("GET", "HEAD")
_BY_ITSELF: Final = frozenset(("/queue/events", "/queue/look", "/queue/rows", "/queue/list", "/held/news"))
"""What an open page asks by itself: a session ends though nobody closes the page."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What keeps others out of every answer of the console; a page may set its own instead."""

_ROLES: Final = {
    StaffRole.VIEW: "This page is for those who may see mail.",
    StaffRole.DECIDE: "This page is for those who decide on mail.",
    StaffRole.ADMINISTER: "This page is for administrators.",
}


class Guard:
    """An application behind sessions and checks.

    `request.state` has there: `who`, a SignedIn or None; `client`; `form`, what was posted; `csrf`, what forms are
    known by; `pages`.
    """

    def __init__(self, app: ASGIApp, backing: Backing, pages: Sequence[Page]) -> None:
        self._app = app
        self._backing = backing
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        limit = asyncio.timeout(_PATIENCE)

        async def send_on(message: Message) -> None:
            nonlocal begun
            if not begun:
                # What has begun may take its time: the server ends it when its client takes nothing more.
                begun = True
                limit.reschedule(None)
            await send(message)

        # As in forms: no database holds it, so nobody is found by it.
        scope["query_string"] = scope["query_string"].replace(b"%00", b"")
        scope["state"] = {
            **scope.get("state", {}), "who": None, "form": {}, "csrf": "", "pages": self._pages,
        }  # fmt: skip
        request = Request(scope, receive)
        request.state.client = _client(request)
        try:
            async with limit:
                refusal = await self._refusal(request)
                await (refusal or self._app)(scope, receive, send_on)
                return
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # a bug: its words may hold those of private mail
            answer = _fault(request, error)
        if not begun:
            await answer(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """Find who asks, and read what is posted; returns why it is not served, or None."""
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        if path.startswith("/static/"):
            return None
        session = request.cookies.get(SESSION_COOKIE)
        if session is not None:
            request.state.who = await sign_in.recognize(
                self._backing.database, session, request.state.proxy_person, is_used=path not in _BY_ITSELF
            )
            if request.state.who is not None:
                request.state.csrf = sign_in.csrf_token(session)
        return None if request.method in _SAFE else await _refusal_of_post(request)


async def _refusal_of_post(request: Request) -> Response | None:
    if request.method != "POST":
        return say(request, 405, "That cannot be done", "This page is not asked in this way.")
    if not _is_from_here(request):
        words = (
            "Another site sent it, or a proxy changes the name of this one: then it has to hand on the Host header "
            "or send X-Forwarded-Host and X-Forwarded-Proto. Nothing was done."
        )
        return say(request, 403, "This did not come from the console", words)
    form = await _read_form(request)
    if form is None:
        return say(request, 413, "That is too much", "A form may have 64 KB. Nothing was done.")
    sent = request.headers.get("x-csrf-token") or form.get("csrf", "")
    if request.state.who is not None and not is_ours(request, sent):
        words = "You have signed in again since it was opened. Nothing was done: open it anew, and try again."
        return say(request, 403, "This page is out of date", words)
    request.state.form = form
    return None


def signed(route: Route, page: Page) -> Route:
    """Have a route serve only those whom its page is for."""
    inner = route.app

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        signed_in = request.state.who
        if signed_in is None:
            await to_sign_in(request)(scope, receive, send)
        elif not page.is_for(signed_in.viewer):
            await say(request, 403, "This is not for you", _ROLES[page.least])(scope, receive, send)
        else:
            await inner(scope, receive, send)

    route.app = app
    return route


async def is_as_before(request: Request, backing: Backing) -> bool:
    """Whether the session of a request that lasts is still there, for the same person who may do the same."""
    session, signed_in = request.cookies.get(SESSION_COOKIE, ""), request.state.who
    found = await sign_in.recognize(backing.database, session, request.state.proxy_person, is_used=False)
    return found is not None and found.viewer == signed_in.viewer


def to_sign_in(request: Request) -> Response:
    """Answer that one has to sign in, and comes back then."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    if request.headers.get("hx-request") == "true":
        # What htmx asks for is a part of a page: the whole page goes.
        return Response(status_code=401, headers={"HX-Redirect": url(request, "/sign-in")})
    if request.method not in _SAFE or path == "/":
        return redirect(request, "/sign-in")
    query = f"?{request.url.query}" if request.url.query else ""
    return redirect(request, f"/sign-in?to={quote(path + query, safe='/')}")


def _client(request: Request) -> Client:
    address = request.client.host if request.client else None
    return Client(address, browser_of(request.headers.get("user-agent", "")), request.cookies.get(DEVICE_COOKIE))


def browser_of(agent: str) -> str:
    """Put what a browser calls itself in two words."""
    # In this order: most call themselves by the names of others, too.
    programs = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
    systems = {
        "Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS": "Mac",
        "CrOS": "ChromeOS", "Linux": "Linux",
    }  # fmt: skip
    program = next((name for word, name in programs.items() if f"{word}/" in agent), "another program")
    system = next((name for word, name in systems.items() if word in agent), "")
    return f"{program} on {system}" if system else program


def _is_from_here(request: Request) -> bool:
    """Whether a page of our own sent it: the browser says so, and no page can make it say anything else.

    An Origin is "null" where the page before sent none (Referrer-Policy); browsers that have no Sec-Fetch-Site are
    older than that, and those are asked for an Origin.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("origin") == origin_of(request)


async def _read_form(request: Request) -> Mapping[str, str] | None:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            return None
    try:
        fields = parse_qsl(bytes(body).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    return {name: value.replace("\0", "") for name, value in fields}


def _fault(request: Request, error: Exception) -> Response:
    """Tell what went wrong: what happened, what was kept, and what to do."""
    status, title, words, retry = 500, "Something is wrong with this page", "", False
    match error:
        case UnknownName():
            status, title, words = 404, "It is not there any more", sentence(error)
        case Busy():
            status, title, words, retry = 503, "One moment", sentence(error), True
        case DatabaseAway() | TimeoutError():
            _log.debug("a page was not served", reason=str(error) or "it took too long")
            words = "The database does not answer now. Mail is kept where it is, and nothing is lost."
            status, title, retry = 503, "One moment", True
        case DatabaseError():
            _log.warning("the database refused a page", reason=str(error))
            title, words = "The database refuses this", "The router's log says why. Nothing was changed."
        case RouterError():
            status, title, words = 409, "That cannot be done", f"{sentence(error)} Nothing was changed."
        case _:
            _log.error("a bug of the router's own, in the console", reason=whereabouts(error))
            words = "It is a mistake of the router's own, and its log says where."
    return say(request, status, title, words, retry=retry)
