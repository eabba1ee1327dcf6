"""Whether the message is from its sender: the result of our own server's DMARC check (RFC 7489).

DMARC alone is about the domain in From. SPF and DKIM are about other domains, and fail for much honest mail that was
forwarded. So `dmarc=fail` counts, whatever policy the domain publishes, and no other result does.
"""

from router.decide.state import State
from router.model import Disposition, Facts, Verdict

NOT_THE_SENDER = "dmarc-fail"


def trust(state: State, facts: Facts) -> State:
    """Hold a message that is not from its sender if the CRM knows that sender; else flag it.

    This step comes after `track`, so that a message that the rule ignores is never held. A message in the Sent folder
    was never received, so no verdict in it is our server's.
    """
    verdict = state.copy.classification.verdict
    if state.copy.sent or verdict is None or ("dmarc", "fail") not in verdict.results:
        return state
    words = f"our server says that it is not from the domain in From: {_described(verdict)}"
    if not state.copy.released and any(facts.records.get(mention.address) for mention in state.copy.message.of("from")):
        return state.decide(Disposition.HELD, words, "held for review, since the sender is known to the CRM")
    return state.noting(words, flags=(NOT_THE_SENDER,))


def _described(verdict: Verdict) -> str:
    results = (f"{method}={result}" for method, result in verdict.results if method in ("dmarc", "spf", "dkim"))
    return ", ".join(dict.fromkeys(results))
