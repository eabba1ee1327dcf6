"""Whether the message goes round in circles: two machines that answer one another, or servers that pass it on."""

from router.decide.state import State
from router.model import Disposition, Facts

MOST_AUTOMATIC = 10
"""Automatic messages of one domain on one thread that are promoted in an hour."""


def loop(state: State, facts: Facts) -> State:
    """Hold what is in a loop, so that nothing in the CRM answers it and a person sees it.

    A loop may change its senders and each time answer the last message, so what counts is the sender's domain and the
    whole thread. Reports do not count: of one email there may be as many as it has recipients, each on another.
    """
    copy, thread = state.copy, state.correlated
    if words := copy.classification.loop:
        return state.decide(Disposition.HELD, f"loop: {words}")
    if copy.classification.automatic is None or thread is None or state.method == "report":
        return state
    if facts.automatic_on(thread.id, copy.message) < MOST_AUTOMATIC:
        return state
    words = f"{MOST_AUTOMATIC} automatic messages of one domain on this thread within an hour were enough"
    return state.decide(Disposition.HELD, f"loop: {words}")
