"""What an attempt came to, and when to try again. Pure: the clock and the dice are arguments."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from router.model import Outgoing, Result
from router.model.outgoing import SendStatus
from router.outgoing.relay_reply import ids_of_reply
from transports.base import Outcome

_FIRST = timedelta(minutes=1)
_LONGEST = timedelta(hours=4)
_MOST_TOLD = 10


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
    status: SendStatus
    told, next_at = deferred + refused, None
    if unknown:
        status, told = "unknown", unknown
    elif deferred and email.attempt_number < max_attempts:
        status, told, next_at = "pending_send", deferred, now + delay_after(email.attempt_number, dice)
    else:
        status = "sent" if len(outcomes) - len(told) + email.taken else "failed"
    return Result(email.id, email.attempt_id, status, _words(told), tuple(outcomes), next_at, _relay_ids(outcomes))


def for_the_log(outcomes: Sequence[Outcome]) -> list[str]:
    """Tell of those that did not take an email: state, code and domain, and how many there are of each.

    Neither addresses nor the server's words, which repeat them, belong in a log.
    """
    lost = Counter(
        f"{one.state} {one.code} at {_domain(one)}" if one.code else f"{one.state}, no code, at {_domain(one)}"
        for one in outcomes
        if one.state != "accepted"
    )
    told = [f"{words} ({count})" if count > 1 else words for words, count in list(lost.items())[:_MOST_TOLD]]
    return told if len(lost) <= _MOST_TOLD else [*told, f"and {len(lost) - _MOST_TOLD} more"]


def _domain(outcome: Outcome) -> str:
    return outcome.recipient.rpartition("@")[2]


def _relay_ids(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    replies = dict.fromkeys(outcome.text for outcome in outcomes if outcome.state == "accepted")
    return tuple(dict.fromkeys(id_ for reply in replies for id_ in ids_of_reply(reply)))


def _words(outcomes: Sequence[Outcome]) -> str | None:
    """The server's own words, once for all recipients that got the same."""
    recipients: dict[str, list[str]] = {}
    for outcome in outcomes:
        words = outcome.text if outcome.code in outcome.text else f"{outcome.code} {outcome.text}".strip()
        recipients.setdefault(words, []).append(outcome.recipient)
    return "; ".join(f"{', '.join(those)}: {words}" for words, those in recipients.items()) or None
