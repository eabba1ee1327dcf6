"""Whether the message is part of a mail loop: two machines that answer each other, or servers that pass it on."""

from router.decide.state import State
from router.model import Disposition, Facts

MOST_AUTOMATIC = 10
"""The most automatic messages of one domain that are promoted on one thread in an hour."""


def loop(state: State, facts: Facts) -> State:
    """Hold a message of a loop, so that nothing in the CRM answers it and a person sees it.

    A loop can change its sender's address and answer another message each time, so messages are counted by the sender's
    domain and the whole thread. Reports are not counted: one email can cause one for each of its recipients. Nor is
    mail of the past, of which years come at once.
    """
    copy, thread = state.copy, state.correlated
    if copy.released:
        return state
    if words := copy.classification.loop:
        return state.decide(Disposition.HELD, f"loop: {words}")
    if copy.classification.automatic is None or thread is None or state.method == "report" or copy.backfilled:
        return state
    if facts.automatic_on(thread.id, copy.message) < MOST_AUTOMATIC:
        return state
    words = f"{MOST_AUTOMATIC} automatic messages of one domain on this thread within an hour were enough"
    return state.decide(Disposition.HELD, f"loop: {words}")
