"""Who may use the console: accounts, what each is granted, and one-time links."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError
from router.model.viewer import StaffRole
from router.operations import people
from router.operations.backing import Backing
from router.operations.people import Grant
from router.web.console.frame import Page, form_of, redirect, render, sentence, viewer_of


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def shown(request: Request, status: int = 200, **more: str) -> Response:
        listed = await people.list_all(backing.database)
        values = {"fault": "", "link": "", "link_of": "", "name": "", "role": StaffRole.VIEW, "owners": ""} | more
        return render(request, "people.html", status, people=listed, roles=list(StaffRole), **values)

    async def show(request: Request) -> Response:
        return await shown(request)

    async def add(request: Request) -> Response:
        form, by = form_of(request), viewer_of(request).name
        name = form.get("name", "").strip().lower()
        try:
            grants = await _grants(backing, form.get("role", ""), form.get("owners", ""))
            secret = await people.add(backing.database, name, grants, by)
        except RouterError as error:
            # As it was put, also for whose mail: an empty field would mean that of everybody.
            put = {"role": form.get("role", ""), "owners": form.get("owners", "")}
            return await shown(request, 422, fault=sentence(error), name=name, **put)
        return await shown(request, link=_link(backing, request, secret), link_of=name)

    async def grant(request: Request) -> Response:
        form, by = form_of(request), viewer_of(request).name
        try:
            grants = await _grants(backing, form.get("role", ""), form.get("owners", ""))
            await people.grant(backing.database, form.get("name", ""), grants, by)
        except RouterError as error:
            return await shown(request, 422, fault=sentence(error))
        return redirect(request, "/people")

    async def reset(request: Request) -> Response:
        name, by = form_of(request).get("name", ""), viewer_of(request).name
        secret = await people.reset(backing.database, name, by)
        return await shown(request, link=_link(backing, request, secret), link_of=name)

    async def disable(request: Request) -> Response:
        try:
            await people.disable(backing.database, form_of(request).get("name", ""), viewer_of(request).name)
        except RouterError as error:
            return await shown(request, 422, fault=sentence(error))
        return redirect(request, "/people")

    return [
        Route("/people", show, methods=["GET"]),
        Route("/people/add", add, methods=["POST"]),
        Route("/people/grant", grant, methods=["POST"]),
        Route("/people/reset", reset, methods=["POST"]),
        Route("/people/disable", disable, methods=["POST"]),
    ]


async def _grants(backing: Backing, role: str, owners: str) -> Sequence[Grant]:
    """Read a role, and the owners for whose mail it is: none for all."""
    return await people.grants_named(backing.database, role, [one.strip() for one in owners.split(",") if one.strip()])


def _link(backing: Backing, request: Request, secret: str) -> str:
    """Write a link as people reach the console: as the settings say, or else as the administrator has come."""
    host = request.headers.get("host", "")
    here = f"{request.url.scheme}://{host}{request.scope.get('root_path', '')}"
    return f"{backing.settings.console_url or here}/link/{secret}"


PAGE = Page("People", "/people", routes, StaffRole.ADMINISTER, everywhere=True)
