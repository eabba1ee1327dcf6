"""Owners: whose mail is read and sent, by which rule, who chose it, and which profiles serve them."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError
from router.model import Rule
from router.model.viewer import StaffRole
from router.operations import owners
from router.operations.backing import Backing
from router.web.console.frame import Page, form_of, redirect, render, sentence, viewer_of
from router.web.console.wording import RULES

_STATES: Final = {"": None, "approved": True, "waiting": False}
_DONE: Final = {"approved": "is approved", "disapproved": "is not approved any more", "rule": "has another rule"}


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def shown(request: Request, status: int = 200, fault: str = "") -> Response:
        asked = request.query_params
        search, state, after = asked.get("search", "").strip()[:320], asked.get("state", ""), asked.get("after", "")
        found = await owners.list_page(
            backing.database, backing.lease, backing.settings.profiles,
            after=after, search=search.replace("\0", ""), approved=_STATES.get(state),
        )  # fmt: skip
        done = "" if fault or asked.get("done") not in _DONE else f"{asked.get('mailbox', '')} {_DONE[asked['done']]}."
        more = "?" + urlencode({"search": search, "state": state, "after": found.after}) if found.after else ""
        return render(
            request, "owners.html", status, found=found, fault=fault, done=done, search=search, state=state,
            after=after, more=more, rules=RULES,
        )  # fmt: skip

    async def show(request: Request) -> Response:
        return await shown(request)

    async def approve(request: Request) -> Response:
        form, by = form_of(request), viewer_of(request).name
        mailbox, approved = form.get("mailbox", ""), form.get("approved") == "yes"
        _, faults = await owners.approve(
            backing.database, [mailbox], backing.lease, backing.settings.profiles, by, approved=approved
        )
        if faults:
            return await shown(request, 422, f"{faults[0]}. Nothing was changed.")
        return _back(request, mailbox, "approved" if approved else "disapproved")

    async def set_rule(request: Request) -> Response:
        form, by = form_of(request), viewer_of(request).name
        mailbox, rule = form.get("mailbox", ""), form.get("rule", "")
        try:
            chosen = Rule(rule) if rule else None
            await owners.set_rule(backing.database, mailbox, chosen, by, backing.lease, backing.settings.profiles)
        except ValueError:
            return await shown(request, 422, f"There is no rule {rule!r}. Nothing was changed.")
        except RouterError as error:
            return await shown(request, 422, f"{sentence(error)} Nothing was changed.")
        return _back(request, mailbox, "rule")

    return [
        Route("/owners", show, methods=["GET"]),
        Route("/owners/approve", approve, methods=["POST"]),
        Route("/owners/rule", set_rule, methods=["POST"]),
    ]


def _back(request: Request, mailbox: str, done: str) -> Response:
    """Go back to the page on which it was done."""
    form = form_of(request)
    kept = {name: form.get(name, "") for name in ("search", "state", "after") if form.get(name)}
    return redirect(request, "/owners?" + urlencode({**kept, "done": done, "mailbox": mailbox}))


PAGE = Page("Owners", "/owners", routes, StaffRole.ADMINISTER, everywhere=True)
