"""A person's own: password, and sessions in all browsers."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.operations import passwords, sign_in
from router.operations.backing import Backing, Refused
from router.operations.sign_in import Barred
from router.web.console.frame import Page, client_of, form_of, redirect, render, sentence, viewer_of, who


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def shown(request: Request, status: int = 200, fault: str = "") -> Response:
        listed = await sign_in.list_sessions(backing.database, viewer_of(request))
        done = "" if fault else request.query_params.get("done", "")
        return render(
            request, "account.html", status, sessions=listed, this=who(request), fault=fault, done=done,
            shortest=passwords.SHORTEST, passwords=backing.settings.console_passwords,
            provider=backing.settings.oidc_title or "the provider",
        )  # fmt: skip

    async def show(request: Request) -> Response:
        return await shown(request)

    async def change(request: Request) -> Response:
        form = form_of(request)
        if not backing.settings.console_passwords:
            return await shown(request, 422, "Nobody signs in here by a password.")
        if form.get("password", "") != form.get("again", ""):
            return await shown(request, 422, "The two new passwords are not the same.")
        try:
            await sign_in.change_password(
                backing.database, who(request), form.get("old", ""), form.get("password", ""), client_of(request)
            )
        except (Refused, Barred, passwords.Busy) as error:
            return await shown(request, 422, sentence(error))
        return redirect(request, "/account?done=password")

    async def end(request: Request) -> Response:
        number = form_of(request).get("session", "")
        if number.isascii() and number.isdigit() and len(number) < 19:
            await sign_in.end_session(backing.database, who(request), int(number), client_of(request))
        return redirect(request, "/account?done=session")

    return [
        Route("/account", show, methods=["GET"]),
        Route("/account/password", change, methods=["POST"]),
        Route("/account/sessions/end", end, methods=["POST"]),
    ]


PAGE = Page("", "/account", routes)
