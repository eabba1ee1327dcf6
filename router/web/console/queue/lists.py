"""The page of the queue, and the parts of its list."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.operations.backing import Backing
from router.operations.queue import pages, ruling
from router.operations.queue.pages import Place
from router.web.console.frame import render, viewer_of, zone_of
from router.web.console.queue.asked import (
    AGES,
    REASONS,
    VIEWS,
    Filters,
    filters_of,
    place_of,
    seen_by,
    uuid_of,
)
from router.web.console.queue.changed import changed_rows
from router.web.console.queue.rule import done_before
from router.web.console.queue.sender import opened
from router.web.times import time_of

_GROUPS: Final = 25  # of a page: twice what a screen has, as the next are read while one scrolls
_ROWS: Final = 50  # where no groups are shown
_MOST_ROWS: Final = 100  # that are asked for by name


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def show(request: Request) -> Response:
        filters = filters_of(request)
        counts = await pages.counts(
            backing.database, seen_by(viewer_of(request)), [age for _, age in AGES.values()], owners=filters.owners
        )
        values = await _listed(backing, request, filters)
        values |= await opened(backing, request)
        values |= {
            "counts": counts,
            "ages": AGES,
            "views": VIEWS,
            "reasons": REASONS,
            "done": await done_before(backing, request),
        }
        return render(request, "queue.html", **values)

    async def listed(request: Request) -> Response:
        return render(request, "queue_list.html", **await _listed(backing, request, filters_of(request)))

    async def part(request: Request) -> Response:
        filters, part_of = filters_of(request), request.query_params.get("part", "")
        found = await pages.senders(
            backing.database,
            seen_by(viewer_of(request)),
            part_of,
            owners=filters.owners,
            older_than=filters.older_than,
            after=place_of(request),
            limit=_ROWS,
        )
        return render(
            request, "queue_part.html", filters=filters, part=part_of, senders=found.senders, goes_on=found.goes_on
        )

    async def rows(request: Request) -> Response:
        filters = filters_of(request)
        named = request.query_params.getlist("address")[:_MOST_ROWS]
        seen = seen_by(viewer_of(request))
        return changed_rows(request, filters, await pages.changed(backing.database, seen, named, owners=filters.owners))

    return [
        Route("/queue", show),
        Route("/queue/list", listed),
        Route("/queue/part", part),
        Route("/queue/rows", rows),
    ]


async def _listed(backing: Backing, request: Request, filters: Filters) -> dict[str, Any]:
    """List what the filters ask for: groups, or senders, or emails that were found."""
    viewer = viewer_of(request)
    seen, database = seen_by(viewer), backing.database
    values: dict[str, Any] = {"filters": filters, "groups": (), "senders": (), "mails": (), "goes_on": None}
    values["settled"] = None
    values["first"] = "at" not in request.query_params
    if filters.text:
        at, email_id = time_of(request.query_params.get("at", "")), uuid_of(request.query_params.get("key", ""))
        before = (at, email_id) if at and email_id else None
        found = await pages.find(database, seen, filters.text, owners=filters.owners, before=before, limit=_ROWS)
        goes_on = Place(found.goes_on[0], str(found.goes_on[1])) if found.goes_on else None
        # A row is a sender, who is opened with the newest email that was found.
        newest = {sender.address: (one, sender) for one, sender in reversed(found.mails) if sender is not None}
        return values | {"mails": list(reversed(newest.values())), "goes_on": goes_on}
    if filters.domain or filters.reason:
        found_of = await pages.senders_of(
            database, seen, domain=filters.domain or None, reason=filters.reason or None, owners=filters.owners,
            older_than=filters.older_than, after=place_of(request), limit=_ROWS,
        )  # fmt: skip
        return values | {"senders": found_of.senders, "goes_on": found_of.goes_on}
    if filters.view == "mine":
        after = request.query_params.get("key", "")
        mine = await pages.assigned(database, seen, viewer.name, after=after, limit=_ROWS)
        last = Place(mine[-1].latest_at, mine[-1].address) if len(mine) == _ROWS else None
        return values | {"senders": mine, "goes_on": last}
    asked: dict[str, Any] = {"owners": filters.owners, "older_than": filters.older_than, "after": place_of(request)}
    if filters.view:
        of_view = await pages.senders(database, seen, filters.view, limit=_ROWS, **asked)
        return values | {"senders": of_view.senders, "goes_on": of_view.goes_on}
    groups = await pages.groups(database, seen, limit=_GROUPS, **asked)
    if not groups.groups and not filters.query():
        midnight = datetime.combine(datetime.now(zone_of(request)), time.min, zone_of(request))
        values["settled"] = await ruling.settled_since(database, midnight)
    return values | {"groups": groups.groups, "goes_on": groups.goes_on}
