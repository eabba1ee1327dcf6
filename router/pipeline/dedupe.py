"""Whether the message is the CRM's already, or was judged before in another place of the same mailbox."""

from router.model import Disposition, Facts, Rule
from router.pipeline.state import State


def dedupe(state: State, facts: Facts) -> State:
    """Call a copy of what is an email already a duplicate of it, whatever its owner's rule is, but for `none`.

    What was ignored or held stays so where a person moves it, or the mailbox is restored: only new mail is judged.
    """
    copy = state.copy
    email_id = facts.emails_by_key.get(copy.key)
    if email_id is not None and state.rule is not Rule.NONE:
        return state.decide(Disposition.DUPLICATE, "the same message is an email of the CRM already", email_id=email_id)
    if copy.owner_id and (disposition := facts.refused.get((copy.owner_id, copy.key))):
        return state.decide(disposition, f"the same message was {disposition} in this mailbox before, and stays so")
    return state
