"""Whether the message is from its sender: the result of our own server's DMARC check (RFC 7489).

DMARC alone is about the domain in From. SPF and DKIM are about other domains, and fail for much honest mail that was
forwarded. So `dmarc=fail` counts, whatever policy the domain publishes, and no other result does.

It is about one domain. Where From names authors of several, or Sender somebody of another one, nobody can tell which of
them the server has checked (RFC 7489 §6.6.1): a domain of the sender's own passes, and the one that it claims does not.
"""

from router.decide.state import State
from router.model import Copy, Disposition, Facts, Verdict

NOT_THE_SENDER = "dmarc-fail"


def trust(state: State, facts: Facts) -> State:
    """Hold a message that is not from its sender if the CRM knows that sender; else flag it.

    This step comes after `track`, so that a message that the rule ignores is never held. A message in the Sent folder
    was never received, so no verdict in it is our server's.
    """
    words = denial(state.copy)
    if words is None:
        return state
    authors = state.copy.message.of("from")
    if not state.copy.released and any(
        facts.records.get(author.address) or facts.records_of(author.address) for author in authors
    ):
        return state.decide(Disposition.HELD, words, "held for review, since the sender is known to the CRM")
    return state.noting(words, flags=(NOT_THE_SENDER,))


def denial(copy: Copy) -> str | None:
    """Say why our server does not vouch for the sender of a copy, if it is one that checks; None: nothing is wrong."""
    verdict, authors = copy.classification.verdict, copy.message.of("from")
    if copy.sent or verdict is None:
        return None
    if verdict.denies:
        return f"our server says that it is not from the domain in From: {_described(verdict)}"
    if verdict.of("dmarc") and len({author.address.rpartition("@")[2] for author in authors}) > 1:
        return f"its authors are of several domains, and our server checks one: {_described(verdict)}"
    return None


def _described(verdict: Verdict) -> str:
    results = (f"{method}={result}" for method, result in verdict.results if method in ("dmarc", "spf", "dkim"))
    return ", ".join(dict.fromkeys(results))
