"""Held mail: why each message is held back, what it says, and the two things that are done with it, asked for twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError, UnknownName
from router.model import Disposition
from router.model.viewer import StaffRole
from router.operations import letters
from router.operations.backing import Backing
from router.operations.letters import Became
from router.operations.queue import held, held_mail
from router.operations.words import vouching
from router.web.console.frame import Page, client_of, form_of, render, sentence, viewer_of
from router.web.console.queue.asked import AGES, number_of, seen_by, uuid_of

_ROWS: Final = 50
_PATIENCE: Final = 7.0  # seconds that a page waits: a message may have to be fetched again
_MOST: Final = 8  # that are released at once
_BECAME: Final = {
    Disposition.PROMOTED: "it is in the CRM now",
    Disposition.DUPLICATE: "the CRM has it already",
    Disposition.IGNORED: "the owner's rule does not want it, so it is ignored",
    Disposition.HELD: "it is held for another reason",
    Disposition.DEAD: "it could not be read, and is a dead letter now",
}
_LONGEST: Final = 1200  # characters of the ids that a page shows
_NOTHING_NEW: Final = 2**62
_LARGEST: Final = 2**63 - 1  # number of a decision

_KINDS: Final[Mapping[str, str]] = {
    "forged": "The sender may be forged",
    "stranger": "The sender was never on the thread",
    "loop": "A loop",
    "other": "Another reason, as of a forward",
}


@dataclass(frozen=True, slots=True)
class _Filters:
    """What of the held mail is listed."""

    owner: UUID | None
    kind: str
    age: str

    @property
    def owners(self) -> frozenset[UUID] | None:
        """The owners as operations take them."""
        return None if self.owner is None else frozenset((self.owner,))

    @property
    def older_than(self) -> timedelta | None:
        """The age as operations take it."""
        return AGES[self.age][1] if self.age else None

    def query(self, **more: object) -> str:
        """Write them as the query of a link, with what else it asks for."""
        own = {"owner": self.owner, "reason": self.kind, "age": self.age}
        return urlencode({name: str(value) for name, value in {**own, **more}.items() if value})


def _filters_of(request: Request) -> _Filters:
    asked = request.query_params
    kind, age = asked.get("reason", ""), asked.get("age", "")
    return _Filters(uuid_of(asked.get("owner", "")), kind if kind in _KINDS else "", age if age in AGES else "")


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""
    under_way: set[asyncio.Task[str]] = set()

    async def shown(request: Request, status: int = 200, fault: str = "", done: str = "") -> Response:
        viewer, filters = viewer_of(request), _filters_of(request)
        before, seen = number_of(request.query_params.get("before", "")), seen_by(viewer)
        found = await held.list_page(
            backing.database,
            seen,
            owners=filters.owners,
            kind=filters.kind or None,
            older_than=filters.older_than,
            before=before,
            limit=_ROWS,
        )
        counts = await held.count(
            backing.database, seen, [one for _, one in AGES.values()],
            owner=filters.owner, kind=filters.kind or None, age=[*AGES].index(filters.age) + 1 if filters.age else 0,
        )  # fmt: skip
        decides = seen_by(viewer, StaffRole.DECIDE)
        rows = [(one, decides is None or one.owner_id in decides) for one in found.held]
        # Of an older page nothing new is told: it comes to the first.
        since = found.held[0].id if found.held and before is None else _NOTHING_NEW if before else 0
        known = [str(one.id) for one in found.held]
        return render(
            request, "held.html", status, held=rows, goes_on=found.goes_on, before=before, fault=fault, done=done,
            filters=filters, counts=counts, kinds=_KINDS, ages=AGES, number=0, gone=(), vouching=vouching,
            asked=filters.query(since=str(since), known=",".join(known)),
        )  # fmt: skip

    async def news(request: Request) -> Response:
        filters, asked = _filters_of(request), request.query_params
        since = number_of(asked.get("since", "")) or 0
        known = [one for name in asked.get("known", "")[:_LONGEST].split(",") if (one := number_of(name)) is not None]
        number, gone = await held.news(
            backing.database, seen_by(viewer_of(request)), since, known[:_ROWS],
            owners=filters.owners, kind=filters.kind or None, older_than=filters.older_than,
        )  # fmt: skip
        left = ",".join(str(one) for one in known if one not in gone)
        return render(
            request, "held_news.html", filters=filters, number=number, gone=gone,
            asked=filters.query(since=str(since), known=left),
        )  # fmt: skip

    async def show(request: Request) -> Response:
        return await shown(request)

    async def decide(request: Request) -> Response:
        form, viewer = form_of(request), viewer_of(request)
        number, what = number_of(form.get("held", "")) or 0, form.get("do", "")
        if form.get("confirmed") != "1" or what not in ("release", "drop"):
            return await shown(request, 409, "Nothing was done: what is held is decided on by the same button twice.")
        try:
            await held.may_rule(backing.database, seen_by(viewer, StaffRole.DECIDE), [number])
            if len(under_way) >= _MOST:
                return await shown(request, 503, "Others are being released. Nothing was done: try it in a moment.")
            task = asyncio.create_task(_decide(backing, viewer.name, number, what), name="held")
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            done = "It takes long to fetch the message again. It goes on: look at this page in a minute."
            with suppress(TimeoutError):
                # Shielded: who closes the page does not stop what was begun.
                done = await asyncio.wait_for(asyncio.shield(task), _PATIENCE)
        except RouterError as error:
            return await shown(request, 409, sentence(error))
        return await shown(request, done=done)

    async def look(request: Request) -> Response:
        viewer, number = viewer_of(request), min(request.path_params["number"], _LARGEST)
        mail, fault = None, ""
        try:
            decides = seen_by(viewer, StaffRole.DECIDE)
            mail = await held_mail.look(backing, decides, viewer.name, number, client_of(request).address)
        except (UnknownName, held_mail.NotShown) as error:
            fault = sentence(error)
        # htmx shows no answer that is an error.
        is_part = request.headers.get("hx-request") == "true"
        template = "held_mail.html" if is_part else "held_alone.html"
        return render(request, template, 200 if is_part or mail else 409, mail=mail, fault=fault)

    return [
        Route("/held/{number:int}/mail", look, methods=["POST"]),
        Route("/held", show),
        Route("/held/news", news),
        Route("/held", decide, methods=["POST"]),
    ]


async def _decide(backing: Backing, by: str, number: int, what: str) -> str:
    try:
        return await _told(_begun(backing, by, number, what), what)
    except RouterError as error:
        return sentence(error)


def _begun(backing: Backing, by: str, number: int, what: str) -> AsyncIterator[Became]:
    if what == "drop":
        return letters.drop(backing.database, backing.profiles, Disposition.HELD, by, [number])
    return letters.release(backing.database, backing.workers, backing.profiles, by, [number])


async def _told(found: AsyncIterator[Became], what: str) -> str:
    """Put what became of a message."""
    async for became in found:
        if became.fault is not None:
            return f"It is held as before: {became.fault}."
        if became.waits:
            reasons = "; ".join(became.decisions[0].reasons)
            return f"It waits again: {reasons}."
        if what == "drop":
            return "It is dropped, and its content is gone."
        return f"It is released: {_BECAME[became.decisions[0].disposition]}."
    return "It was not there any more."


PAGE = Page("Held", "/held", routes)
