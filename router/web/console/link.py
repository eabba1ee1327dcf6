"""One-time links, by which the first administrator comes in, and everybody chooses a password where there are any."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import UnknownName
from router.operations import passwords, people, sign_in
from router.operations.backing import Backing, Refused
from router.web.console.frame import client_of, form_of, redirect, render, say, sentence
from router.web.console.sign_in import begun


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""
    passwords_count = backing.settings.console_passwords

    async def shown(request: Request, status: int = 200, name: str = "", fault: str = "") -> Response:
        link = await people.find_link(backing.database, request.path_params["secret"])
        if link is None:
            another = "Ask an administrator for another."
            if not await people.are_there_any(backing.database):
                another = "On the router's machine, email-router staff link prints another."
            words = f"It was used, or has expired. {another}"
            return say(request, 404, "This link is not valid any more", words)
        return render(
            request,
            "link.html",
            status,
            name=link.name or name,
            first=link.name is None,
            fault=fault,
            shortest=passwords.SHORTEST,
            passwords=passwords_count,
        )

    async def show(request: Request) -> Response:
        return await shown(request)

    async def use(request: Request) -> Response:
        form, client = form_of(request), client_of(request)
        secret, name = request.path_params["secret"], form.get("name", "")
        password = form.get("password", "") if passwords_count else None
        if password is not None and password != form.get("again", ""):
            return await shown(request, 422, name, "The two passwords are not the same.")
        try:
            person_id, name = await people.use_link(backing.database, secret, name, password, client.address)
        except UnknownName:
            return await shown(request)
        except (Refused, passwords.Busy) as error:
            return await shown(request, 422, name, sentence(error))
        session, device = await sign_in.begin(backing.database, person_id, name, client)
        return begun(redirect(request, "/"), session, device)

    return [
        Route("/link/{secret}", show, methods=["GET"]),
        Route("/link/{secret}", use, methods=["POST"]),
    ]
