"""Profiles as the running processes serve them, and what is wrong with their files."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model.viewer import StaffRole
from router.operations import served
from router.operations.backing import Backing
from router.web.console.frame import Page, render
from router.web.console.wording import RULES


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def show(request: Request) -> Response:
        folder = backing.settings.profiles
        found = await served.read(backing.database, backing.lease, folder)
        return render(request, "profiles.html", found=found, folder=folder, rules=RULES)

    return [Route("/profiles", show, methods=["GET"])]


PAGE = Page("Profiles", "/profiles", routes, StaffRole.ADMINISTER, everywhere=True)
