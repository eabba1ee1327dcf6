"""A sender: one message with all that is around it, who the sender may be, and the panels to decide otherwise."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import DatabaseError, UnknownName
from router.model.viewer import StaffRole
from router.operations import people
from router.operations.backing import Backing
from router.operations.queue import mail, pages, ruling
from router.web.console.frame import render, viewer_of, zone_of
from router.web.console.queue import until
from router.web.console.queue.asked import NOBODY, filters_of, seen_by, uuid_of

KINDS: Final[Mapping[str, str]] = {
    "contact": "a new contact",
    "lead": "a new lead",
    "account": "a new account",
    "user": "one of our own people",
}
"""What is made of a sender, and how that is said."""

_PANELS: Final = ("new", "find", "domain", "snooze", "assign")
_SHOWN: Final = 5  # proposals, each with its number as its key
_FOUND: Final = 9


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def show(request: Request) -> Response:
        return render(request, "queue_sender.html", **await opened(backing, request))

    async def panel(request: Request) -> Response:
        values = await opened(backing, request)
        return render(request, "queue_panel.html", **values)

    async def records(request: Request) -> Response:
        return render(request, "queue_records.html", **await _records(backing, request))

    return [Route("/queue/sender", show), Route("/queue/panel", panel), Route("/queue/records", records)]


async def opened(backing: Backing, request: Request) -> dict[str, Any]:
    """Open the sender that a request names, with the email that it names, or the latest; and a panel."""
    database, viewer = backing.database, viewer_of(request)
    seen, address = seen_by(viewer), request.query_params.get("sender", "").strip()
    values: dict[str, Any] = {
        "filters": filters_of(request), "address": address, "person": None, "mail": None, "asked": None,
        "settled": None, "latest": None, "may_decide": False, "decides_all": False, "panel": "", "shown": _SHOWN,
    }  # fmt: skip
    if not address:
        # Who does not see all mail is told of own rulings: when others rule tells of their mail.
        by = None if seen is None else viewer.name
        return values | {"latest": next(iter(await ruling.recent(database, by, limit=1)), None)}
    try:
        person = await mail.person(database, seen, "" if address == NOBODY else address)
        email_id = uuid_of(request.query_params.get("email", "")) or person.sender.latest_id
        message = await mail.open_mail(database, seen, email_id)
        asked = await ruling.ask(database, seen, person.sender.address or NOBODY)
    except UnknownName:
        return values | {"settled": await ruling.settled(database, seen, address)}
    decides = seen_by(viewer, StaffRole.DECIDE)
    may_decide = decides is None or bool(await pages.senders_named(database, decides, [person.sender.address]))
    values |= {
        "person": person,
        "mail": message,
        "asked": asked,
        # Of mail without an address nobody can say whose it is: it is ignored, all of it, or waits.
        "may_decide": may_decide and bool(person.sender.address),
        "decides_all": decides is None,
    }
    if values["may_decide"] and request.query_params.get("panel") in _PANELS:
        values |= await _panel(backing, request, person)
    return values


async def _panel(backing: Backing, request: Request, person: mail.Person) -> dict[str, Any]:
    database, seen = backing.database, seen_by(viewer_of(request))
    panel = request.query_params["panel"]
    values: dict[str, Any] = {"panel": panel, "asked_of_domain": None, "colleagues": ()}
    if panel == "new":
        kind = request.query_params.get("kind", "contact")
        kind = kind if kind in KINDS else "contact"
        guess = person.guess
        # A company is not called as one of its people is: better none than that.
        name = guess.company if kind == "account" else guess.name or person.sender.name
        values |= {"kind": kind, "kinds": KINDS, "guessed": name}
        values["guessed_from"] = guess.company_from if kind == "account" else guess.name_from
    elif panel == "snooze":
        zone = zone_of(request)
        offered = {one.name: one for one in until.choices(datetime.now(UTC), zone)}
        values |= {"put_off": offered.values(), "at_first": offered["tomorrow"].at, "zone_name": str(zone)}
    elif panel == "domain":
        values["asked_of_domain"] = await ruling.ask(database, seen, f"@{person.sender.address.rpartition('@')[2]}")
    elif panel == "assign":
        values["colleagues"] = await people.names(database)
    if panel in ("find", "domain"):
        values |= await _records(backing, request, person)
    return values


async def _records(backing: Backing, request: Request, person: mail.Person | None = None) -> dict[str, Any]:
    """Find records as a name is typed; before anything is, for a domain those that are proposed."""
    of_domain = request.query_params.get("panel") == "domain"
    text = request.query_params.get("name", "").strip()
    kinds, fault = (["account"] if of_domain else None), ""
    found: Sequence[Any] = ()
    if text:
        try:
            found = await pages.records(backing.database, text, kinds, _FOUND)
        except DatabaseError:
            fault = "The search takes too long now. Nothing is lost: try more letters."
    elif of_domain and person is not None:
        found = [one for one in person.candidates if one.kind == "account"][:_FOUND]
    return {"found": found, "fault": fault, "text": text, "of_domain": of_domain}
