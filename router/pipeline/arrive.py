"""Whether a copy can be judged at all: once only, and only if there is a message to judge."""

from router.model import Disposition, Facts
from router.pipeline.state import State


def arrive(state: State, facts: Facts) -> State:
    """Turn away what has a disposition already (it keeps that one) and what never came or broke."""
    copy = state.copy
    if (copy.source_id, copy.place) in facts.decided:
        return state.decide(Disposition.IGNORED, "decided before: this place keeps its disposition")
    if copy.fault is not None:
        return state.decide(Disposition.DEAD, copy.fault)
    return state
