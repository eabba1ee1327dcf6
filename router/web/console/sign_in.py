"""Signing in and out, and whether the console is light or dark."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.operations import passkeys, passwords, people, sign_in
from router.operations.backing import Backing
from router.operations.sign_in import DEVICE_DAYS, LASTING, Barred, SignedIn, WrongPassword
from router.settings import Settings
from router.web.console.frame import THEME_COOKIE, THEMES, client_of, form_of, origin_of, redirect, render, say
from router.web.console.guard import DEVICE_COOKIE, SESSION_COOKIE


def routes(backing: Backing) -> Sequence[Route]:
    """Serve what needs no session."""
    settings = backing.settings

    async def show(request: Request) -> Response:
        to = within(request.query_params.get("to", ""))
        if request.state.who is not None:
            return redirect(request, to)
        named = request.state.proxy_person
        if named is None:
            nobody = not settings.oidc_title and not await people.are_there_any(backing.database)
            return sign_in_page(request, settings, to, nobody=nobody)
        session = await sign_in.begin_by_proxy(backing.database, named, client_of(request))
        if session is None:
            words = f"You are signed in as {named} elsewhere, and have no account here: an administrator can add one."
            return say(request, 403, "You have no account here", words)
        return begun(redirect(request, to), session)

    async def enter(request: Request) -> Response:
        form = form_of(request)
        to, name, password = within(form.get("to", "")), form.get("name", ""), form.get("password", "")
        if not settings.console_passwords:
            return sign_in_page(request, settings, to, 403, fault="Nobody signs in here by a password.")
        try:
            session, device = await sign_in.sign_in(backing.database, name, password, client_of(request))
        except (WrongPassword, Barred, passwords.Busy) as error:
            return _refused(request, settings, to, name, error)
        return begun(redirect(request, to), session, device)

    async def leave(request: Request) -> Response:
        signed_in: SignedIn | None = request.state.who
        if signed_in is not None:
            await sign_in.sign_out(backing.database, signed_in, client_of(request))
        answer = redirect(request, "/signed-out" if _is_signed_in_elsewhere(request) else "/sign-in")
        answer.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        answer.headers["Clear-Site-Data"] = '"cache"'
        return answer

    return [
        Route("/sign-in", show, methods=["GET"]),
        Route("/sign-in", enter, methods=["POST"]),
        Route("/sign-out", leave, methods=["POST"]),
        Route("/signed-out", signed_out, methods=["GET"]),
        Route("/theme", _set_theme, methods=["POST"]),
    ]


async def signed_out(request: Request, end: str | None = None, title: str = "") -> Response:
    """Say where else one has to sign out; `end` is where one can, at what is called `title`."""
    words = "Your session here has ended. Where you signed in you still are: sign out there, too."
    more = {"link": end, "link_words": f"Sign out of {title}"} if end else {}
    return say(request, 200, "You have signed out", words, **more)


def sign_in_page(
    request: Request, settings: Settings, to: str, status: int = 200, name: str = "", fault: str = "", *,
    nobody: bool = False,
) -> Response:  # fmt: skip
    """Show the page on which one signs in; where `nobody` can yet, it says how the first one comes in."""
    site = passkeys.site_of(settings)
    return render(
        request, "sign_in.html", status, to=to, name=name, fault=fault, passwords=settings.console_passwords,
        provider=settings.oidc_title, passkeys=site is not None and site.origin == origin_of(request),
        nobody=nobody,
    )  # fmt: skip


def _refused(request: Request, settings: Settings, to: str, name: str, error: Exception) -> Response:
    status = 403 if isinstance(error, WrongPassword) else 429
    answer = sign_in_page(request, settings, to, status, name, str(error))
    if isinstance(error, Barred):
        answer.headers["Retry-After"] = str(error.seconds)
    return answer


def _is_signed_in_elsewhere(request: Request) -> bool:
    """Whether another session goes on, at a proxy or a provider, by which one would be in again at once."""
    signed_in: SignedIn | None = request.state.who
    return bool(request.state.proxy_person) or (signed_in is not None and signed_in.way == "provider")


async def _set_theme(request: Request) -> Response:
    form = form_of(request)
    answer = redirect(request, within(form.get("to", "")))
    theme = form.get("theme", "")
    if theme in THEMES:
        answer.set_cookie(
            THEME_COOKIE, theme, max_age=365 * 86400, path="/", secure=True, httponly=True, samesite="lax"
        )
    return answer


def begun(answer: Response, session: str, device: str | None = None) -> Response:
    """Hand a browser the secrets of its session, and of itself.

    With __Host- no other name of the same domain can set them. Browsers take Secure cookies over http from localhost.
    """
    lasts = round(LASTING.all.total_seconds())
    answer.set_cookie(SESSION_COOKIE, session, max_age=lasts, path="/", secure=True, httponly=True, samesite="lax")
    if device is not None:
        lasts = DEVICE_DAYS * 86400
        answer.set_cookie(DEVICE_COOKIE, device, max_age=lasts, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def within(to: str) -> str:
    """Where it goes on: a path of the console, and nowhere else."""
    plain = to.isascii() and to.isprintable() and "\\" not in to
    return to if plain and to.startswith("/") and not to.startswith("//") else "/"
