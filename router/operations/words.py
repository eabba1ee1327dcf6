"""How numbers of things, moments, and what a mail server says of a sender are put."""

from datetime import UTC, datetime

from router.classify.authentication import MICROSOFT_365
from router.model import Verdict


def count(number: int, what: str, many: str | None = None) -> str:
    """Put a number of things: "1 owner", "2 owners"; `many` where the plural is no -s."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"


def moment(when: datetime) -> str:
    """Put a moment, in UTC, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def vouching(verdict: Verdict) -> str:
    """Put what a mail server found out about a sender: "vouched for by mail.example.com (DMARC pass)"."""
    server = "Microsoft 365" if verdict.server == MICROSOFT_365 else verdict.server
    methods = dict.fromkeys(method for method, _ in verdict.results)
    results = ", ".join(f"{method.upper()} {verdict.of(method)}" for method in methods)
    if verdict.denies:
        return f"{server} says that it is not from the domain in From (DMARC fail)"
    if verdict.of("dmarc") == "pass":
        return f"vouched for by {server} (DMARC pass)"
    return f"{server} does not vouch for the sender ({results or 'it has checked nothing'})"
