"""The email activity that a message becomes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from router.decide.state import State
from router.model import Decision, Disposition, Email, Facts

# The range that calendars in a CRM can show, and crm.email takes. A date within it is kept as it is claimed.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2199, 12, 31, tzinfo=UTC)


def promote(state: State, facts: Facts) -> State:
    """Make the email. The server tells when it was received, the sender its date, the thread its present regarding."""
    copy, message, thread = state.copy, state.copy.message, state.correlated
    assert copy.owner_id is not None, "`arrive` ends the way of a copy without an owner"
    email = Email(
        id=copy.id,
        message_id=message.message_id,
        in_reply_to=message.in_reply_to[0] if message.in_reply_to else None,
        thread_ids=tuple(dict.fromkeys((*message.references, *message.in_reply_to))),
        subject=message.subject,
        text=message.text,
        html=message.html,
        owner_id=copy.owner_id,
        dated_at=_shown(message.date) if message.date else None,
        received_at=_shown(copy.received_at),
        regarding_id=thread.regarding_id if thread else None,
        correlated_id=thread.id if thread else None,
        method=state.method,
        sent=copy.sent,
        calendar=copy.classification.calendar,
        flags=(*state.flags, *message.flags),
        defects=message.defects,
        text_marks=copy.text_marks,
        raw_headers=message.raw_headers,
        tracking_rule=state.rule,
    )
    waits_for = () if thread else state.waits_for
    decision = Decision(
        Disposition.PROMOTED,
        state.rule,
        (*state.reasons, *_of_rulings(state, facts)),
        email.id,
        email,
        state.parties,
        state.report,
        waits_for=waits_for,
        candidates=state.candidates,
    )
    return replace(state, decision=decision)


def _of_rulings(state: State, facts: Facts) -> Iterator[str]:
    """Name the rulings that its addresses have; of what is not promoted that would tell whom it is from."""
    found = {ruled for party in state.parties if (ruled := facts.ruled_of(party.address))}
    for ruled in sorted(found, key=lambda one: one.ruling_id):
        if ruled.record:
            yield f"resolved by ruling {ruled.ruling_id}"
        else:
            yield f"the record of ruling {ruled.ruling_id} is not active, or not there any more: left unresolved"


def _shown(claimed: datetime) -> datetime:
    return min(max(claimed, _EARLIEST), _LATEST)
