"""Whether the owner's tracking rule wants the message.

| rule            | promotes                                                                  |
|-----------------|---------------------------------------------------------------------------|
| `all`           | everything                                                                |
| `replies`       | what answers a CRM email                                                  |
| `known`         | what a contact, lead or account sent                                      |
| `email-enabled` | what any record sent                                                      |
| `none`          | nothing                                                                   |

In the owner's own Sent folder it is the recipients who count, not the sender (T17).

What the rule would promote but for a stranger's token is held for a person: somebody who was never on a thread cannot
put mail on it. What the rule ignores is ignored, token or not, so that private mail is never held.
"""

from collections.abc import Mapping

from router.decide.resolve import INTERNAL, records_of
from router.decide.state import State
from router.model import Disposition, Facts, Rule

_CUSTOMERS = frozenset({"contact", "lead", "account"})


_WANTED = {
    Rule.ALL: "the rule wants all mail",
    Rule.REPLIES: "the rule wants answers to CRM email",
    Rule.KNOWN: "the sender is a contact, lead or account",
    Rule.EMAIL_ENABLED: "the sender is a record of the CRM",
}
_UNWANTED = {
    Rule.REPLIES: "answers no CRM email",
    Rule.KNOWN: "the sender is no contact, lead or account",
    Rule.EMAIL_ENABLED: "the sender is no record of the CRM",
    Rule.NONE: "the owner's rule is none",
}


def track(state: State, facts: Facts) -> State:
    """Ignore, hold, or let the message pass."""
    message = state.copy.message
    recipients = [mention.address for mention in message.mentions if mention.role in ("to", "cc", "bcc")]
    who = recipients if state.copy.sent else [message.sender or ""]
    kinds = {record.kind for address in who for record in records_of(address, facts)}
    wants = {
        Rule.ALL: True,
        Rule.REPLIES: state.correlated is not None or state.stranger,
        Rule.KNOWN: not kinds.isdisjoint(_CUSTOMERS),
        Rule.EMAIL_ENABLED: bool(kinds),
        Rule.NONE: False,
    }
    if state.method == "report":
        return state  # it is on the CRM's own email
    if not wants[state.rule]:
        internal = state.rule is Rule.KNOWN and kinds and kinds <= INTERNAL
        return state.decide(Disposition.IGNORED, "internal" if internal else _said(_UNWANTED, state))
    if state.stranger:
        return state.decide(Disposition.HELD, "held for review, since the sender was never on that thread")
    return state.noting(_said(_WANTED, state))


def _said(reasons: Mapping[Rule, str], state: State) -> str:
    reason = reasons[state.rule]
    return (
        reason.replace("the sender is", "a recipient is").replace("a recipient is no", "no recipient is a")
        if state.copy.sent
        else reason
    )
