"""The queue of unresolved senders: who waits at the left, a sender with one message at the right, and the ruling.

    asked    what a request asks for: filters, and whose mail the person sees or decides on
    lists    the page, and the parts of its list as one scrolls, searches, or news come
    sender   a sender: one message, who it may be, and the panels in which one searches, creates, puts off, assigns
    rule     who a sender is, as a person decides, and undoes
    care     who takes care of a sender, who is put off, what is split off
    until    until when a sender is put off, by the person's clock
    done     how both are answered
    changed  what a page shows of senders who have changed
    live     what changes, as it happens; who looks at whom

Every address of a part is that of a page, too: without scripts a link or form goes to the page.
"""

from collections.abc import Sequence

from starlette.routing import Route

from router.operations.backing import Backing
from router.operations.queue.live import Live
from router.web.console.frame import Page
from router.web.console.queue import care, lists, live, rule, sender


def routes(backing: Backing) -> Sequence[Route]:
    """Serve it all."""
    listening = Live(backing)
    return [
        *lists.routes(backing), *sender.routes(backing), *rule.routes(backing), *care.routes(backing),
        *live.routes(backing, listening),
    ]  # fmt: skip


PAGE = Page("Unresolved", "/queue", routes)
