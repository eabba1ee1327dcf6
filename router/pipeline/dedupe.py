"""Whether the message is the CRM's already, by its key."""

from router.model import Disposition, Facts, Rule
from router.pipeline.state import State


def dedupe(state: State, facts: Facts) -> State:
    """Call a copy of what is an email already a duplicate of it, whatever its owner's rule is, but for `none`."""
    email_id = facts.emails_by_key.get(state.copy.key)
    if email_id is None or state.rule is Rule.NONE:
        return state
    return state.decide(Disposition.DUPLICATE, "the same message is an email of the CRM already", email_id=email_id)
