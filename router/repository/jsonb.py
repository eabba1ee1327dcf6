"""Values as JSON, for the jsonb columns that the schema documents."""

import json
from collections.abc import Sequence
from uuid import UUID

from router.model import CalendarEvent, Candidate, Forward, Verdict


def as_rows(rows: Sequence[Sequence[object]]) -> str | None:
    """Encode marks or headers; None if there are none."""
    return json.dumps(rows) if rows else None


def as_calendar(event: CalendarEvent | None) -> str | None:
    """Encode an event for `crm.email.calendar`."""
    if event is None:
        return None
    return json.dumps(
        {
            "method": event.method,
            "uid": event.uid,
            "start": event.start.isoformat() if event.start else None,
            "end": event.end.isoformat() if event.end else None,
            "organizer": event.organizer,
        }
    )


def as_envelope(forward: Forward | None) -> str | None:
    """Encode an outer envelope for `crm.receipt.forward`."""
    if forward is None:
        return None
    return json.dumps(
        {
            "form": forward.form,
            "forwarder": forward.forwarder,
            "message_id": forward.message_id,
            "date": forward.date.isoformat() if forward.date else None,
        }
    )


def as_candidates(candidates: Sequence[Candidate]) -> str | None:
    """Encode what a copy may answer for `router.decision.candidates`; None if there is nothing."""
    documents = [
        {"email_id": str(one.email_id), "method": one.method, "score": one.score, "why_not": one.why_not}
        for one in candidates
    ]
    return json.dumps(documents) if documents else None


def read_candidates(candidates: str | None) -> tuple[Candidate, ...]:
    """Decode what `as_candidates` has encoded."""
    return tuple(
        Candidate(UUID(one["email_id"]), one["method"], one["why_not"], one["score"])
        for one in json.loads(candidates or "[]")
    )


def as_verdict(verdict: Verdict | None) -> str | None:
    """Encode what a server found out about a sender for `router.decision.verdict`; None if it said nothing."""
    return None if verdict is None else json.dumps({"server": verdict.server, "results": verdict.results})


def read_verdict(verdict: str | None) -> Verdict | None:
    """Decode what `as_verdict` has encoded."""
    if verdict is None:
        return None
    document = json.loads(verdict)
    return Verdict(document["server"], tuple((method, result) for method, result in document["results"]))
