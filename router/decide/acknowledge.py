"""Whether a queue that acknowledges its mail does so for a message.

Never to machines, ourselves, or a forged From; nor for mail of the past.
"""

from dataclasses import replace

from router.model import INTERNAL, Copy, Decision, Disposition, Facts

_SENT_TO_US = frozenset({None, "redirected", "journal", "delivered"})
"""How a message came that its author sent to the owner: not one that somebody else passes on."""


def acknowledge(copy: Copy, facts: Facts, decision: Decision) -> Decision:
    """Note that a copy is to be acknowledged. Whether its thread was already, and how often, is looked up later."""
    if copy.owner_id not in facts.acknowledging or decision.decided_before or not copy.judged or copy.backfilled:
        return decision
    if decision.disposition not in (Disposition.PROMOTED, Disposition.DUPLICATE) or decision.says == "something else":
        return decision
    return replace(decision, acknowledge=_may_be_answered(copy, facts))


def _may_be_answered(copy: Copy, facts: Facts) -> bool:
    kind = copy.classification
    if copy.sent or copy.null_sender or (copy.forward.form if copy.forward else None) not in _SENT_TO_US:
        return False
    if kind.verdict is not None and kind.verdict.denies:
        return False  # From names somebody who has not written it: the answer would be unasked-for mail
    if kind.automatic or kind.report or kind.bulk or kind.calendar or kind.loop or kind.read_id or kind.no_answer:
        return False
    return not any(record.kind in INTERNAL for record in facts.records_of(copy.message.sender or ""))
