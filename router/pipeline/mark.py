"""What a person should know of the kind of message: written by a machine, sent to many."""

from router.model import Facts
from router.pipeline.state import State


def mark(state: State, facts: Facts) -> State:  # noqa: ARG001  # every step takes the facts
    """Flag what is automatic, what it reports, and what went to many."""
    kind = state.copy.classification
    if kind.automatic:
        state = state.because(f"automatic, so no answer: {kind.automatic}", flags=(*state.flags, "automatic"))
    if kind.report:
        state = state.because(flags=(*state.flags, kind.report.kind))
    if kind.bulk:
        state = state.because(flags=(*state.flags, kind.bulk))
    return state
