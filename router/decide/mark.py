"""Flags that tell people what kind of message it is: written by a machine, sent to many, read out of a text."""

from router.decide.state import State
from router.model import Facts


def mark(state: State, facts: Facts) -> State:  # noqa: ARG001  # every step takes the facts
    """Flag automatic messages, reports, bulk mail, and messages that are only known as somebody quoted them."""
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
