"""Whether the owner's tracking rule wants the message.

| rule            | promotes                                                                  |
|-----------------|---------------------------------------------------------------------------|
| `all`           | everything                                                                |
| `replies`       | what answers a CRM email                                                  |
| `known`         | what a contact, lead or account sent                                      |
| `email-enabled` | what any record sent                                                      |
| `none`          | nothing                                                                   |

What the rule would promote but for a stranger's token is held for a person: somebody who was never on a thread cannot
put mail on it. What the rule ignores is ignored, token or not, so that private mail is never held.
"""

from router.model import Disposition, Facts, Rule
from router.pipeline.resolve import records_of
from router.pipeline.state import State

_CUSTOMERS = frozenset({"contact", "lead", "account"})
_INTERNAL = frozenset({"user", "queue"})


def track(state: State, facts: Facts) -> State:
    """Ignore, hold, or let the message pass."""
    wanted, reason = _judge(state, facts)
    if not wanted:
        return state.decide(Disposition.IGNORED, reason)
    if state.stranger:
        return state.decide(Disposition.HELD, "held for review, since the sender was never on that thread")
    return state.because(reason)


def _judge(state: State, facts: Facts) -> tuple[bool, str]:
    sender = state.copy.message.sender
    kinds = {record.kind for record in records_of(sender or "", facts)}
    match state.rule:
        case Rule.ALL:
            return True, "the rule wants all mail"
        case Rule.REPLIES if state.correlated or state.stranger:
            return True, "the rule wants answers to CRM email"
        case Rule.REPLIES:
            return False, "answers no CRM email"
        case Rule.KNOWN if kinds & _CUSTOMERS:
            return True, "the sender is a contact, lead or account"
        case Rule.KNOWN if kinds and kinds <= _INTERNAL:
            return False, "internal"
        case Rule.KNOWN:
            return False, "the sender is no contact, lead or account"
        case Rule.EMAIL_ENABLED if kinds:
            return True, "the sender is a record of the CRM"
        case Rule.EMAIL_ENABLED:
            return False, "the sender is no record of the CRM"
        case _:
            return False, "the owner's rule is none"
