"""How a decision is answered: a line at the foot, with Undo; or who was first, or why it cannot be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from router.errors import DatabaseAway, DatabaseError, RouterError, UnknownName
from router.model.viewer import StaffRole
from router.operations.backing import Backing
from router.operations.queue import Seen, pages, ruling
from router.operations.queue.ruling import Overtaken, Ruling
from router.operations.unresolved import NO_SENDER, address_of
from router.web.console.frame import redirect, render, say, sentence, viewer_of
from router.web.console.queue.asked import seen_by

_NOTHING: Final = "Nothing was changed."
_UNKNOWN: Final = "Look again whether it was done."


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, and how it is undone: by a form to this path with these fields; without a path, not at all."""

    words: str
    path: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def decided_by(request: Request) -> Seen:
    """Whose mail the person decides on."""
    return seen_by(viewer_of(request), StaffRole.DECIDE)


def in_words(found: Ruling) -> str:
    """Put what was ruled."""
    if found.kind == "ignore-sender":
        return "Mail without a sender is ignored" if found.subject == NO_SENDER else f"{found.subject} is ignored"
    return f"{found.subject} is linked to {found.record or 'a record that is gone'}"


async def answer(backing: Backing, request: Request, done: Done, event: str, subject: str) -> Response:
    """Tell what was done: `event` tells the page's script."""
    if request.headers.get("hx-request") != "true":
        query = f"?done={done.fields['ruling']}" if "ruling" in done.fields else f"?sender={subject}"
        return redirect(request, f"/queue{query}")
    counts = await pages.counts(backing.database, seen_by(viewer_of(request)))
    response = render(request, "queue_done.html", done=done, counts=counts)
    response.headers["HX-Trigger"] = json.dumps({event: {"subject": address_of(subject)}})
    return response


async def refuse(backing: Backing, request: Request, error: RouterError, subject: str) -> Response:
    """Say who was first, or why it cannot be."""
    first: Ruling | None = None
    gone, words = isinstance(error, UnknownName), sentence(error)
    if isinstance(error, Overtaken):
        gone, first, words = True, error.first, "What it replaces was undone meanwhile."
    elif isinstance(error, UnknownName):
        # As where a ruling on the domain has settled the address.
        first = await ruling.settled(backing.database, decided_by(request), subject)
    if first is not None:
        words = f"{first.by} was first: {in_words(first)}."
    elif isinstance(error, DatabaseError) and not isinstance(error, UnknownName):
        words = f"The database does not do it: {words}"
    # Of a connection that is lost, nobody knows what was committed.
    kept = _UNKNOWN if isinstance(error, DatabaseAway) else _NOTHING
    return part(
        request, "queue_refused.html", "#confirm", 409, words=f"{words} {kept}", subject=subject,
        gone=gone,
    )  # fmt: skip


def part(request: Request, template: str, target: str, status: int = 200, **values: Any) -> Response:
    """Answer htmx with a part of the page, and a form without scripts with a page."""
    if request.headers.get("hx-request") == "true":
        response = render(request, template, status, part=True, **values)
        response.headers["HX-Retarget"], response.headers["HX-Reswap"] = target, "innerHTML"
        return response
    if status != 200:
        return say(request, status, "That cannot be done", values["words"])
    return render(request, "queue_alone.html", status, inner=template, part=False, **values)
