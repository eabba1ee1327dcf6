"""Whether a copy can be judged at all: once only, if there is a message to judge, and if it is somebody's."""

from router.decide.state import State
from router.model import Disposition, Facts, Form, Predecided, Unreadable

_FORMS: dict[Form, str] = {
    "attached": "forwarded as an attachment",
    "redirected": "redirected",
    "journal": "told by a journal report",
    "inline": "forwarded in the text of a mail, so less certain",
}


def arrive(state: State, facts: Facts) -> State:
    """Turn away what has a disposition already (it keeps that one), what never came or broke, and what is nobody's."""
    copy = state.copy
    if (copy.source_id, copy.place) in facts.decided.places:
        return state.decide(Disposition.IGNORED, "decided before: this place keeps its disposition")
    match copy.reading:
        case Unreadable(fault):
            return state.decide(Disposition.DEAD, fault)
        case Predecided(disposition, reason):
            return state.decide(disposition, reason)
    if copy.forward is not None:
        return state.noting(_FORMS[copy.forward.form])
    return state
