"""What an attempt came to, and when to try again. Pure: the clock and the dice are arguments."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from router.model import Outgoing, Result
from transports.base import Outcome

_FIRST = timedelta(minutes=1)
_LONGEST = timedelta(hours=4)


def delay_after(attempt: int, dice: Random) -> timedelta:
    """How long to wait after the nth attempt (from 1): 1, 2, 4 … minutes, 4 hours at most, ±20% to spread the load."""
    return min(_LONGEST, _FIRST * 2.0 ** min(attempt - 1, 20)) * float(dice.uniform(0.8, 1.2))


def judge(email: Outgoing, outcomes: Sequence[Outcome], max_attempts: int, now: datetime, dice: Random) -> Result:
    """Say what becomes of an email after these outcomes, one for each recipient that had not taken it yet.

    An unknown outcome outweighs all others, since nothing may be sent again before a person has looked. Then: what was
    deferred is tried again, up to `max_attempts`. In the end it is sent if anybody took it, and failed if nobody did.
    """
    by_state = {state: [one for one in outcomes if one.state == state] for state in ("unknown", "deferred", "refused")}
    unknown, deferred, refused = by_state.values()
    lost = refused
    if unknown:
        return Result(email.id, email.attempt_id, "unknown", _words(unknown), tuple(outcomes))
    if deferred:
        if email.attempt < max_attempts:
            next_at = now + delay_after(email.attempt, dice)
            return Result(email.id, email.attempt_id, "pending_send", _words(deferred), tuple(outcomes), next_at)
        lost = deferred + refused
    taken = len(outcomes) - len(lost) + email.taken
    return Result(email.id, email.attempt_id, "sent" if taken else "failed", _words(lost), tuple(outcomes))


def _words(outcomes: Sequence[Outcome]) -> str | None:
    """The server's own words, once for all recipients that got the same."""
    recipients: dict[str, list[str]] = {}
    for outcome in outcomes:
        words = outcome.text if outcome.code in outcome.text else f"{outcome.code} {outcome.text}".strip()
        recipients.setdefault(words, []).append(outcome.recipient)
    return "; ".join(f"{', '.join(those)}: {words}" for words, those in recipients.items()) or None
