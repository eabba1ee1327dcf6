"""What a person should know of the kind of message: written by a machine, sent to many, read out of a text."""

from router.decide.state import State
from router.model import Facts


def mark(state: State, facts: Facts) -> State:  # noqa: ARG001  # every step takes the facts
    """Flag what is automatic, what it reports, what went to many, and what is only as somebody quoted it."""
    kind = state.copy.classification
    if kind.automatic:
        state = state.noting(f"automatic, so no answer: {kind.automatic}", flags=("automatic",))
    if kind.report:
        state = state.noting(flags=(kind.report.kind,))
    if kind.bulk:
        state = state.noting(flags=(kind.bulk,))
    if state.copy.forward and state.copy.forward.form == "inline":
        state = state.noting(flags=("forwarded-inline",))
    return state
