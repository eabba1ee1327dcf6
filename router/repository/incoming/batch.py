"""A batch: what is committed together."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.model import Copy, Decision, Disposition, Rule
from router.repository.incoming.sources import Lease
from transports.base import Cursor


@dataclass(frozen=True, slots=True)
class Batch:
    """Copies of one source, oldest first.

    `lease` is None for a listener, which has no cursor. `settles`: the dispositions of copies that are still to be
    settled on the mail server; `destroys`: that takes them away, so only a copy that says the same as its email is.
    `keeps`: the content may exist nowhere else, so it is kept of a copy that is held, dead, or a doubtful
    duplicate. `again`: copies for which `router.decide_again` or a person's ruling asks are decided again; all
    others keep the decision they have. `waits`: something else of the source waits still, so that what is wrong with it
    stays written. `patience`: seconds that what others lock is waited for, where the connection's are too many.
    """

    copies: Sequence[Copy]
    lease: Lease | None = None
    cursor: Cursor | None = None
    settles: frozenset[Disposition] = frozenset()
    keeps: bool = False
    destroys: bool = False
    again: bool = False
    waits: bool = False
    patience: float | None = None

    def to_be_settled(self, decision: Decision) -> bool:
        """Whether the copy of this decision is still to be settled."""
        return decision.disposition in self.settles and (not self.destroys or decision.says == "the same")

    def keeps_content(self, copy: Copy, decision: Decision) -> bool:
        """Whether the content of a copy is kept: it may exist nowhere else, and a person may want to see it."""
        if not copy.content or (decision.rule is not Rule.ALL and not self.keeps):
            return False
        if decision.disposition in (Disposition.HELD, Disposition.DEAD):
            return decision.rule is not Rule.NONE
        return self.keeps and decision.doubtful


Decided = tuple[Copy, Decision]
"""A copy, and what is to become of it."""


def promoted_of(decided: Sequence[Decided]) -> Sequence[Decided]:
    """Those whose copy is promoted."""
    return [(copy, decision) for copy, decision in decided if decision.disposition is Disposition.PROMOTED]
