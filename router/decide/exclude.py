"""Whether the organization or the owner never tracks whoever sent the message.

Such a copy is judged as under the rule `none`: nothing is kept of it, it is no duplicate of what others have, and it
becomes none when another owner's copy is promoted. Of a message in the owner's Sent folder, all recipients must be on
the list.
"""

from dataclasses import replace

from router.decide.state import State
from router.model import Disposition, Facts, Rule
from router.model.address_pattern import patterns_of


def exclude(state: State, facts: Facts) -> State:
    """Ignore what is on a list, also an answer to a CRM email, or a report."""
    copy, message = state.copy, state.copy.message
    if copy.sent:
        people = [one.address for one in message.mentions if one.role in ("to", "cc", "bcc")]
    else:
        people = [message.sender or "", *(author.address for author in message.of("from"))]
    for owner_id, whose in ((None, "organization"), (copy.owner_id, "owner")):
        found = [any((owner_id, one) in facts.never_track for one in patterns_of(address)) for address in people]
        if found and (all(found) if copy.sent else any(found)):
            who = "every recipient" if copy.sent else "the sender"
            words = f"{who} is on the never-track list of the {whose}"
            return replace(state, rule=Rule.NONE).decide(Disposition.IGNORED, words)
    return state
