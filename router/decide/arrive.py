"""Whether a copy is judged at all: it has no disposition yet, its message was read, and an owner received it."""

from dataclasses import replace

from router.decide.state import State
from router.model import Decision, Disposition, Facts, Form, Predecided, Unreadable

_FORMS: dict[Form, str] = {
    "attached": "forwarded as an attachment",
    "redirected": "redirected",
    "journal": "told by a journal report",
    "delivered": "in a catch-all mailbox, delivered to this owner",
    "inline": "forwarded in the text of a mail, so less certain",
}


def arrive(state: State, facts: Facts) -> State:
    """End the way of a copy that is not judged; note how a forwarded message was found."""
    copy = state.copy
    if (copy.source_id, copy.place) in facts.decided.places:
        reasons = ("decided before: this place keeps its disposition",)
        return replace(state, decision=Decision(Disposition.IGNORED, state.rule, reasons, decided_before=True))
    match copy.reading:
        case Unreadable(fault):
            return state.decide(Disposition.DEAD, fault)
        case Predecided(disposition, reason):
            return state.decide(disposition, reason)
    if copy.forward is not None:
        return state.noting(_FORMS[copy.forward.form])
    return state
