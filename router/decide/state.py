"""What the steps have found out about one copy so far."""

from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

from router.model import Candidate, Copy, Decision, Disposition, Method, Party, Report, Rule, Says, ThreadEmail


@dataclass(frozen=True, slots=True)
class State:
    """One copy on its way through the steps; each returns a new state. A state with a `decision` is the last.

    `stranger`: the message has the token of a CRM email, and its sender was never on that email's thread. `waits_for`
    are the Message-IDs of the emails that it may answer, if the CRM has none of them. `report` is on `correlated`.
    """

    copy: Copy
    rule: Rule
    reasons: tuple[str, ...] = ()
    correlated: ThreadEmail | None = None
    method: Method | None = None
    stranger: bool = False
    waits_for: tuple[tuple[Method, str], ...] = ()
    flags: tuple[str, ...] = ()
    parties: tuple[Party, ...] = ()
    decision: Decision | None = None
    report: Report | None = None
    candidates: tuple[Candidate, ...] = ()

    def noting(self, *reasons: str, flags: tuple[str, ...] = ()) -> Self:
        """Add reasons and flags."""
        return replace(self, reasons=(*self.reasons, *reasons), flags=(*self.flags, *flags))

    def answering(self, email: ThreadEmail, method: Method, reason: str) -> Self:
        """Link the message to the CRM email that it answers or reports on."""
        return replace(self.noting(reason), correlated=email, method=method)

    def finding(self, *candidates: Candidate) -> Self:
        """Add emails that the message may answer; the first that is found counts, and each once."""
        found: dict[UUID, Candidate] = {}
        for one in (*self.candidates, *candidates):
            found.setdefault(one.email_id, one)
        return replace(self, candidates=tuple(found.values()))

    def decide(
        self,
        disposition: Disposition,
        *reasons: str,
        email_id: UUID | None = None,
        waits_for: tuple[tuple[Method, str], ...] = (),
    ) -> Self:
        """End the way with a disposition other than promoted; `email_id` is the email that a duplicate is of."""
        reasons = (*self.reasons, *reasons)
        decision = Decision(disposition, self.rule, reasons, email_id, waits_for=waits_for, candidates=self.candidates)
        return replace(self, decision=decision)

    def saying(self, says: Says) -> Self:
        """Note of a duplicate whether it says the same as its email."""
        assert self.decision is not None, "only what is decided is a duplicate"
        return replace(self, decision=replace(self.decision, says=says))
