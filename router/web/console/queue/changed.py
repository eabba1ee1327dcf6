"""What a page shows of senders who have changed: asked for by its script, or told to all who show the same."""

from starlette.requests import Request
from starlette.responses import Response

from router.operations.queue.pages import Changes
from router.web.console.frame import render
from router.web.console.queue.asked import Filters


def changed_rows(request: Request, filters: Filters, changes: Changes) -> Response:
    """Render what a page shows of senders that have changed: their groups, where these are listed, and their rows."""
    groups = changes.groups if filters.is_plain else ()
    listed = {sender.address for group in groups for sender in group.senders}
    return render(
        request, "queue_changed.html", filters=filters, waiting=changes.waiting, groups=groups,
        others=[one for one in changes.senders if one.address not in listed],
    )  # fmt: skip


def is_personal(changes: Changes) -> bool:
    """Whether two persons are shown different words: who else looks, and times by their clocks."""
    shown = [*changes.senders, *(sender for group in changes.groups for sender in group.senders)]
    return any(one.looking or one.snoozed_until for one in shown)
