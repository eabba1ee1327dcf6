"""The audit log: who did what, when, and about which email."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model.viewer import StaffRole
from router.operations import audit_log, people
from router.operations.backing import Backing
from router.web.console.frame import Page, as_number, render
from router.web.console.wording import action, details

_ENTRIES: Final = 100  # of a page


def routes(backing: Backing) -> Sequence[Route]:
    """Serve it."""

    async def show(request: Request) -> Response:
        by = request.query_params.get("by", "").strip()[:64]
        found = await audit_log.list_before(
            backing.database, as_number(request.query_params.get("before", "")), _ENTRIES + 1, by or None
        )
        more = "?" + urlencode({"by": by, "before": found[_ENTRIES - 1].id}) if len(found) > _ENTRIES else ""
        names = [one.person.name for one in await people.list_all(backing.database)]
        return render(
            request, "audit_log.html", entries=found[:_ENTRIES], by=by, people=[*names, audit_log.COMMAND_LINE],
            more=more, action=action, details=details,
        )  # fmt: skip

    return [Route("/rulings/log", show, methods=["GET"])]


PAGE = Page("Audit log", "/rulings/log", routes, StaffRole.ADMINISTER, everywhere=True, aside=True)
