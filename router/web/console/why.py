"""Why a message is in the CRM or is not: every copy of it, and each step of the decision on it, in words."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.operations import why
from router.operations.backing import Backing, Refused
from router.operations.why import Known
from router.operations.words import vouching
from router.web.console.frame import Page, render, sentence, viewer_of
from router.web.console.wording import BECAME, MARKS, METHODS, RULES

_DAYS: Final = {7: "a week", 31: "a month", 366: "a year"}
_LONGEST: Final = 1000  # characters of what is looked for
_COMMAND: Final = re.compile(r': "email-router [^"]*"')


def routes(backing: Backing) -> Sequence[Route]:
    """Serve it."""

    async def show(request: Request) -> Response:
        viewer = viewer_of(request)
        known = _known(request)
        found, fault, status = None, "", 200
        if not known.is_nothing:
            try:
                found = await why.find(backing, viewer, known)
            except Refused as error:
                fault, status = sentence(error), 422

        def plain(words: str) -> str:
            # What to type in a terminal is of use to administrators alone.
            return words if viewer.administers else _COMMAND.sub("", words)

        return render(
            request, "why.html", status, known=known, found=found, fault=fault, days=_DAYS, plain=plain,
            became=BECAME, marks=MARKS, methods=METHODS, rules=RULES, vouching=vouching,
        )  # fmt: skip

    return [Route("/why", show, methods=["GET"])]


def _known(request: Request) -> Known:
    asked = {name: request.query_params.get(name, "").replace("\0", "")[:_LONGEST].strip() for name in Known.__slots__}
    days = asked.pop("days")
    return Known(**asked, days=int(days) if days in {str(one) for one in _DAYS} else min(_DAYS))


PAGE = Page("Why?", "/why", routes)
