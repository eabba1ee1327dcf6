"""What another tracking rule would have made of an owner's mail, side by side with what holds. Nothing is changed."""

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model import Rule
from router.model.viewer import StaffRole
from router.operations.backing import Backing
from router.operations.passwords import Busy
from router.operations.simulations import MOST, Simulations
from router.web.console.frame import Page, as_number, form_of, redirect, render, sentence, viewer_of
from router.web.console.wording import BECAME, MARKS, RULES

_LAST = (50, 200, MOST)


def routes(backing: Backing) -> Sequence[Route]:
    """Serve it."""
    simulations = backing.shared(Simulations)

    async def shown(
        request: Request, status: int = 200, *, mailbox: str = "", rule: str = "", last: int = 200, fault: str = ""
    ) -> Response:
        job = request.query_params.get("id", "")
        one = await simulations.find(job) if job else None
        if one is not None:
            mailbox, rule = one.mailbox, one.rule
        part = request.headers.get("hx-request") == "true"
        return render(
            request, "simulated.html" if part and one else "simulate.html", status, one=one, mailbox=mailbox,
            rule=rule, last=last, lasts=_LAST, fault=fault, rules=RULES, became=BECAME, marks=MARKS,
        )  # fmt: skip

    async def show(request: Request) -> Response:
        return await shown(request, mailbox=request.query_params.get("mailbox", "")[:320])

    async def start(request: Request) -> Response:
        form = form_of(request)
        mailbox, rule, last = form.get("mailbox", ""), form.get("rule", ""), as_number(form.get("last", "")) or 200
        if rule not in set(Rule):
            return await shown(request, 422, mailbox=mailbox, fault="Choose a rule.")
        try:
            one = await simulations.start(viewer_of(request), mailbox, Rule(rule), last)
        except Busy as error:
            return await shown(request, 503, mailbox=mailbox, rule=rule, last=last, fault=sentence(error))
        return redirect(request, "/owners/simulate?" + urlencode({"id": one.id}))

    return [
        Route("/owners/simulate", show, methods=["GET"]),
        Route("/owners/simulate", start, methods=["POST"]),
    ]


PAGE = Page("Try another rule", "/owners/simulate", routes, StaffRole.ADMINISTER, everywhere=True, aside=True)
