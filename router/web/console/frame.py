"""What pages are made with: who looks, what was sent, where things are, and templates.

A page is a file with a `Page`, its handlers, and a template that extends base.html:

    async def show(request: Request) -> Response:
        listed = await rulings.list_all(backing.database, viewer_of(request))
        return render(request, "rulings.html", rulings=listed)
"""

import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from time import monotonic
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from router.model.viewer import StaffRole, Viewer
from router.operations.backing import Backing
from router.operations.sign_in import Client, SignedIn
from router.web.console.assets import ASSETS
from router.web.console.undisguised import undisguised

T = TypeVar("T")

THEMES: Final = ("system", "light", "dark")
THEME_COOKIE: Final = "__Host-email-router-theme"
ZONE_COOKIE: Final = "__Host-email-router-zone"


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its name in the header (empty: it is not there), where it is, and whom it is for.

    With `aside` its name is in the header's menu More. `least` is the role that it takes; with `everywhere` a person
    needs it for all mail, else somebody's is enough. `routes` have full paths; nothing of them is served to anybody
    else.
    """

    name: str
    path: str
    routes: Callable[[Backing], Sequence[Route]]
    least: StaffRole = StaffRole.VIEW
    everywhere: bool = False
    aside: bool = False

    def is_for(self, viewer: Viewer) -> bool:
        """Whether a person may see it."""
        return viewer.has(self.least) if self.everywhere else viewer.has_anywhere(self.least)


def who(request: Request) -> SignedIn:
    """The session of a request to a page."""
    signed_in: SignedIn = request.state.who
    return signed_in


def viewer_of(request: Request) -> Viewer:
    """Who looks."""
    return who(request).viewer


def form_of(request: Request) -> Mapping[str, str]:
    """What a form sent; it was checked that it is ours, and the person's."""
    form: Mapping[str, str] = request.state.form
    return form


def client_of(request: Request) -> Client:
    """From where a person asks."""
    client: Client = request.state.client
    return client


def as_number(written: str) -> int | None:
    """Read a number that a database can have; None where it is none."""
    return int(written) if written.isascii() and written.isdigit() and len(written) < 19 else None


def url(request: Request, path: str) -> str:
    """Where a path of the console is, behind a proxy too."""
    prefix: str = request.scope.get("root_path", "")
    return prefix + path


def origin_of(request: Request) -> str:
    """The origin of the page that the browser sees."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


def redirect(request: Request, path: str) -> Response:
    """Answer that it goes on at this path of the console."""
    return RedirectResponse(url(request, path), 303)


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Answer with a page.

    Templates know `viewer`, `pages`, `url`, `asset`, `csrf`, `theme`, `zone`, and the filters `ago`, `soon`, `clock`,
    `as_sentence`.
    """
    signed_in = getattr(request.state, "who", None)
    viewer = signed_in.viewer if signed_in else None
    pages = [one for one in request.state.pages if one.name and viewer and one.is_for(viewer)]
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    content = _TEMPLATES.get_template(template).render(
        {
            "viewer": viewer,
            "pages": pages,
            "path": path,
            "here": max((one.path for one in pages if f"{path}/".startswith(f"{one.path}/")), key=len, default=""),
            "theme": theme_of(request),
            "themes": THEMES,
            "zone": zone_of(request),
            "csrf": _masked(request.state.csrf),
            "url": lambda path: url(request, path),
            "asset": lambda name: url(request, f"/static/{ASSETS.name(name)}"),
            **values,
        }
    )
    return HTMLResponse(undisguised(content), status, headers={"Cache-Control": "no-store", "Vary": "HX-Request"})


def theme_of(request: Request) -> str:
    """Light or dark, as the person chose; else the system's."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


def zone_of(request: Request) -> tzinfo:
    """Find the time zone of the person's browser, as console.js has told it; else UTC."""
    try:
        return ZoneInfo(unquote(request.cookies.get(ZONE_COOKIE, ""))[:64])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def say(request: Request, status: int, title: str, words: str, **more: Any) -> Response:
    """Answer with a page of a few words: what happened, what was kept, and what to do."""
    return render(request, "message.html", status, title=title, words=words, **more)


def sentence(error: Exception) -> str:
    """Put an error's words as a sentence."""
    return as_sentence(str(error))


def as_sentence(words: str) -> str:
    """Put words as a sentence; one that begins with a name, such as that of a file or an address, keeps it."""
    first = words.partition(" ")[0].rstrip(".,:;")
    begun = words if "." in first or "@" in first else words[:1].upper() + words[1:]
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


async def for_a_while(work: AsyncIterator[T], seconds: float = 5.0) -> AsyncIterator[T | None]:
    """Go on with work on very many things for as long as one request may; None at the end: some of it is left."""
    until = monotonic() + seconds
    async with aclosing(cast("AsyncGenerator[T]", work)):
        async for one in work:
            yield one
            if monotonic() > until:
                yield None
                return


async def on_http_error(request: Request, error: Exception) -> Response:
    """Tell that there is no such page, or why it is not shown."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return say(request, 404, "There is no such page", "It was moved, or the address has a mistake.")
    return say(request, error.status_code, "That cannot be done", error.detail)


def is_ours(request: Request, sent: str) -> bool:
    """Whether a form's token is that of the session."""
    try:
        raw = bytes.fromhex(sent)
    except ValueError:
        return False
    expected = hashlib.sha256(request.state.csrf.encode()).digest()
    if len(raw) != 2 * len(expected):
        return False
    mask, masked = raw[:32], raw[32:]
    return secrets.compare_digest(bytes(a ^ b for a, b in zip(mask, masked, strict=True)), expected)


def _masked(csrf: str) -> str:
    """A form's token, another each time: compressed beside words of a stranger's, it could be guessed else (BREACH)."""
    mask = secrets.token_bytes(32)
    digest = hashlib.sha256(csrf.encode()).digest()
    return (mask + bytes(a ^ b for a, b in zip(mask, digest, strict=True))).hex()


def _ago(moment: datetime) -> Markup:
    """Put a moment as it is said, with the exact one on hover; console.js puts that in the reader's own time zone."""
    moment = moment.astimezone(UTC)
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return _time(moment, _said(seconds, moment))


def _soon(moment: datetime) -> Markup:
    """Put a moment that is to come as it is said; one that has passed is at any moment."""
    moment = moment.astimezone(UTC)
    minutes = (moment - datetime.now(UTC)).total_seconds() / 60
    said = f"{moment:%Y-%m-%d %H:%M}"
    for limit, unit, name in ((1, 1, "at any moment"), (60, 1, "min"), (1440, 60, "h"), (7 * 1440, 1440, "d")):
        if minutes < limit:
            said = name if limit == 1 else f"in {minutes // unit:.0f} {name}"
            break
    return _time(moment, said)


def _time(moment: datetime, said: str) -> Markup:
    # Nothing in it is a stranger's. Markup.format would take a fifth of the time of a page with many rows.
    exact = moment.isoformat(timespec="seconds")
    return Markup(f'<time datetime="{exact}" title="{moment:%Y-%m-%d %H:%M} UTC">{said}</time>')  # noqa: S704


def _clock(moment: datetime, zone: tzinfo) -> Markup:
    """Put a moment by the clock of a time zone, with its day where that is not today's."""
    here = moment.astimezone(zone)
    day = "" if here.date() == datetime.now(zone).date() else f" on {here:%a} {here.day} {here:%b}"
    return Markup('<time datetime="{}" title="{} UTC">at {}{}</time>').format(
        moment.isoformat(timespec="seconds"), f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}", f"{here:%H:%M}", day
    )


def _said(seconds: float, moment: datetime) -> str:
    if seconds < 0:
        return f"{moment:%Y-%m-%d %H:%M}"
    for limit, unit, name in ((60, 1, ""), (3600, 60, "min"), (86400, 3600, "h"), (7 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{int(seconds // unit)} {name} ago" if name else "just now"
    return f"{moment:%Y-%m-%d}"


_TEMPLATES: Final = Environment(
    loader=PackageLoader("router.web.console"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["ago"] = _ago
_TEMPLATES.filters["soon"] = _soon
_TEMPLATES.filters["clock"] = _clock
_TEMPLATES.filters["as_sentence"] = as_sentence
