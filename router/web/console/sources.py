"""Each mailbox and each other source: who reads it, what is wrong, and a ledger that adds up."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model.viewer import StaffRole
from router.operations import sources
from router.operations.backing import Backing
from router.operations.sources import SourceStatus
from router.web.console.frame import Page, render
from router.web.console.plots import Bar, ledger

_STATES: Final = {
    "": "all", "wrong": "in trouble", "idle": "read by nobody", "read": "read", "former": "not to be read",
}  # fmt: skip


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def show(request: Request) -> Response:
        asked = request.query_params
        text, state = asked.get("text", "")[:200].strip(), asked.get("state", "")
        after = (asked.get("profile", ""), asked.get("mailbox", ""), asked.get("folder", ""))
        found = await sources.list_page(backing, text, state, after)
        following = None
        if found.goes_on:
            profile, mailbox, folder = found.goes_on
            place = {"text": text, "state": state, "profile": profile, "mailbox": mailbox, "folder": folder}
            following = "/sources?" + urlencode(place)
        return render(
            request, "sources.html", found=found, text=text, state=state if state in _STATES else "", states=_STATES,
            link=lambda name: "/sources?" + urlencode({"text": text, "state": name}), following=following,
            is_first=after == ("", "", ""), ledger=_ledger, words=_words, lasted=_lasted,
        )  # fmt: skip

    return [Route("/sources", show, methods=["GET"])]


def _ledger(source: SourceStatus) -> Sequence[Bar]:
    return ledger(_parts(source))


def _words(source: SourceStatus) -> str:
    """Put the ledger as an equation."""
    told = [f"{number:,} {one}" for one, number in _parts(source).items() if number]
    return f"{sum(_parts(source).values()):,} = {' + '.join(told)}" if told else "0"


def _lasted(seconds: float) -> str:
    """Put a time that passed, in one unit."""
    if seconds < 1:
        return "below 1 s"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.0f} h"


def _parts(source: SourceStatus) -> Mapping[str, int]:
    """What lies on the server and nothing accounts for was not seen, and is part of all there is."""
    parts = {one.value: number for one, number in source.dispositions.items()}
    return parts | {"unaccounted": source.audit.missing if source.audit else 0}


PAGE = Page("Sources", "/sources", routes, StaffRole.ADMINISTER, everywhere=True)
