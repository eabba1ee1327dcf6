"""What kind of message it is: automatic, a report on mail sent before, bulk, an invitation, in a loop; and who vouches.

Pure, and it never raises: each kind has a file of its own, and a kind whose check fails counts as not found.
"""

from collections.abc import Callable
from typing import TypeVar

from router.classify.authentication import find_verdict
from router.classify.automatic import find_automatic
from router.classify.bulk import find_bulk
from router.classify.calendar import find_event
from router.classify.headers import Headers
from router.classify.loop import find_loop
from router.classify.no_answer import find_no_answer
from router.classify.receipt import find_read_id
from router.classify.report import find_report
from router.model import Classification, Message

__all__ = ["classify"]

_T = TypeVar("_T")


def classify(message: Message, authserv: str | None = None) -> Classification:
    """Say what kind of message it is. `authserv` names the server whose Authentication-Results are believed."""
    headers = Headers(message.headers)
    report = _guarded(lambda: find_report(message, headers))
    return Classification(
        automatic="a report of a mail system" if report else _guarded(lambda: find_automatic(message, headers)),
        report=report,
        bulk=_guarded(lambda: find_bulk(headers)),
        calendar=_guarded(lambda: find_event(message)),
        loop=_guarded(lambda: find_loop(message, headers)),
        verdict=_guarded(lambda: find_verdict(headers, authserv)) if authserv else None,
        read_id=None if report else _guarded(lambda: find_read_id(message, headers)),
        no_answer=_guarded(lambda: find_no_answer(message, headers)),
    )


def _guarded(look: Callable[[], _T | None]) -> _T | None:
    try:
        return look()
    except Exception:  # noqa: BLE001  # whatever a sender can write must not stop the mailbox
        return None
