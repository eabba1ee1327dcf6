"""Whether the message is from whom it says: what our own server's DMARC check (RFC 7489) found out.

DMARC is the one method that speaks of the address in From: SPF and DKIM alone speak of other domains, and fail for much
honest mail that was forwarded. So `dmarc=fail` counts, whatever policy the domain publishes, and nothing softer.
"""

from router.decide.state import State
from router.model import Disposition, Facts, Verdict

NOT_THE_SENDER = "dmarc-fail"


def trust(state: State, facts: Facts) -> State:
    """Hold what only claims to be from somebody the CRM knows; flag what only claims to be from somebody else.

    It comes after `track`, so that what the rule ignores is never held. What lies in the Sent folder was not received.
    """
    verdict = state.copy.classification.verdict
    if state.copy.sent or verdict is None or ("dmarc", "fail") not in verdict.results:
        return state
    words = f"our server says that it is not from the domain in From: {_told(verdict)}"
    if any(facts.records.get(mention.address) for mention in state.copy.message.of("from")):
        return state.decide(Disposition.HELD, words, "held for review, since the sender is known to the CRM")
    return state.noting(words, flags=(NOT_THE_SENDER,))


def _told(verdict: Verdict) -> str:
    results = (f"{method}={result}" for method, result in verdict.results if method in ("dmarc", "spf", "dkim"))
    return ", ".join(dict.fromkeys(results))
