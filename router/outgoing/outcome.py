"""What an attempt came to, and when to try again. Pure: the clock and the dice are arguments."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from random import Random
from typing import Final

from router.model import Outgoing, Result
from router.model.outgoing import SendStatus
from router.outgoing.relay_reply import ids_of_reply
from transports.base import Outcome

_MOST_TOLD = 10
GIVE_UP_AFTER: Final = timedelta(days=5)
"""How long is tried what is deferred (RFC 5321 §4.5.4.1)."""
MOST_RESENT: Final = 10
"""How often an email is tried whose outcome stays unknown, where the profile says `resend` and no `max_attempts`."""


class Cause(Enum):
    """Why a recipient was deferred: how long to wait after the first attempt, at most, and whether the attempt counts.

    It counts where the relay said it of this message.
    """

    GREYLISTED = (timedelta(minutes=5), timedelta(hours=1), True)
    CONNECTION = (timedelta(seconds=30), timedelta(hours=1), False)
    LOGIN = (timedelta(seconds=30), timedelta(minutes=15), False)
    LIMITED = (timedelta(minutes=5), timedelta(hours=2), False)
    OTHER = (timedelta(minutes=1), timedelta(hours=4), True)

    @property
    def counts(self) -> bool:
        """Whether an attempt that ends so counts against `max_attempts`."""
        return self.value[2]

    def delay(self, attempt: int, dice: Random) -> timedelta:
        """How long to wait after the nth attempt (from 1): twice as long each time, ±20% to spread the load."""
        first, longest, _ = self.value
        return min(longest, first * 2.0 ** min(attempt - 1, 20)) * float(dice.uniform(0.8, 1.2))


_GREYLIST: Final = re.compile(r"gr[ea]y-?list", re.IGNORECASE)
# Exchange Online says "sender thread limit exceeded" and "Concurrent connections limit exceeded", with 4.3.2, of one
# mailbox that sends by more than three connections (Exchange Team Blog, April 20, 2018): the others may go on.
_LIMIT: Final = re.compile(
    r"rate.?limit|throttl|too many (?:messages|mails|emails|connections)|(?:thread|connections?) limit", re.IGNORECASE
)
# The connection broke, the server is about to close it, or takes nothing now (RFC 3463 §3.4 and §3.5).
_OF_CONNECTION: Final = ("421", "4.4.2", "4.3.2")
# The mailbox cannot log in (RFC 5248): when an admin has mended that, its mail is not to wait as long as for a limit.
_OF_LOGIN: Final = "4.7.8"


def cause_of(deferred: Outcome) -> Cause:
    """Tell why a recipient was deferred, by the code and the server's words."""
    if deferred.code == _OF_LOGIN:
        return Cause.LOGIN
    if _GREYLIST.search(deferred.text) or (deferred.code == "4.7.1" and not _LIMIT.search(deferred.text)):
        return Cause.GREYLISTED
    if _LIMIT.search(deferred.text) or deferred.code.startswith("4.7.") or deferred.code == "4.3.1":
        return Cause.LIMITED
    return Cause.CONNECTION if deferred.code in _OF_CONNECTION else Cause.OTHER


def lost_words(outcomes: Sequence[Outcome]) -> str | None:
    """Say what was wrong with the relay, and not with the message, where that is why it was not sent.

    Everybody is told of it whose email waits for the relay, and so is the log: addresses are left out.
    """
    lost = (one for one in outcomes if one.state == "deferred" and cause_of(one) is Cause.CONNECTION)
    words = next((one.text if one.code in one.text else f"{one.code} {one.text}" for one in lost), None)
    return words and " ".join("…" if "@" in word else word for word in words.split(" "))


def may_resend(attempt: int, max_attempts: int | None) -> bool:
    """Whether an email may be sent again, if the profile says `resend`, after an nth attempt that stayed unknown."""
    return attempt < most_resent(max_attempts)


def most_resent(max_attempts: int | None) -> int:
    """Return how often an email is tried, at most, whose outcome stays unknown, where the profile says `resend`."""
    return max_attempts or MOST_RESENT


def judge(
    email: Outgoing,
    outcomes: Sequence[Outcome],
    max_attempts: int | None,
    now: datetime,
    dice: Random,
    *,
    give_up_after: timedelta = GIVE_UP_AFTER,
    resend: bool = False,
) -> Result:
    """Say what becomes of an email after these outcomes, one for each recipient that had not taken it yet.

    An unknown outcome outweighs all others, since nothing may be sent again before a person has looked; unless the
    profile says `resend`. Then: what was deferred is tried again, until `give_up_after` has passed since it first was,
    or `max_attempts` of those that count are over. In the end it is sent if anybody took it, and failed if nobody did.
    """
    by_state = {state: [one for one in outcomes if one.state == state] for state in ("unknown", "deferred", "refused")}
    unknown, deferred, refused = by_state.values()
    causes = {cause_of(one) for one in deferred}
    if unknown and resend and may_resend(email.attempt_number, max_attempts):
        causes.add(Cause.OTHER)
        deferred, unknown = [*unknown, *deferred], []
    spent = any(cause.counts for cause in causes)
    is_over = (email.deferred_for or timedelta(0)) >= give_up_after or (
        max_attempts is not None and email.spent + spent >= max_attempts
    )
    status: SendStatus
    given_up: tuple[str, ...] = ()
    told, next_at = deferred + refused, None
    if unknown:
        status, told = "unknown", unknown
    elif deferred and not is_over:
        delay = min(cause.delay(email.attempt_number, dice) for cause in causes)
        status, told, next_at = "pending_send", deferred, now + delay
    else:
        status = "sent" if len(outcomes) - len(told) + email.taken else "failed"
        given_up = tuple(one.recipient for one in deferred if one.state == "deferred")
    relay_ids = _relay_ids(outcomes)
    return Result(
        email.id, email.attempt_id, status, _words(told), tuple(outcomes), next_at, relay_ids, spent, given_up
    )


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
