"""Whether the owner's tracking rule wants the message (`rules`).

A message that the rule wants is still held for a person if it has a stranger's token: somebody who was never on a
thread cannot put mail on it. A message that the rule does not want is ignored, whatever its token, so that private mail
is never held. Internal mail is ignored under every rule where the setting `internal_mail` is none, but for mail to a
queue.
"""

from dataclasses import replace

from router.decide.rules import RULES, Evidence
from router.decide.state import State
from router.model import Disposition, Facts, Method
from router.model.settings import INTERNAL_MAIL, INTERNAL_MAIL_TO_QUEUES


def track(state: State, facts: Facts) -> State:
    """Ignore the message, hold it, or let it pass. A report passes: it belongs to the CRM's own email."""
    if state.method == "report":
        return state
    if unwanted := _unwanted_among_us(state, facts):
        return state.decide(Disposition.IGNORED, unwanted)
    evidence = _evidence(state, facts)
    wanted, reason = RULES[state.rule].judge(evidence)
    if not wanted:
        return state.decide(Disposition.IGNORED, reason, waits_for=_waits_for(evidence, state))
    if state.stranger and not state.copy.released:
        return state.decide(Disposition.HELD, "held for review, since the sender was never on that thread")
    return state.noting(reason)


def _unwanted_among_us(state: State, facts: Facts) -> str | None:
    """Say why internal mail is ignored whatever the rule is; an answer to a CRM email is, too."""
    copy = state.copy
    chosen = facts.chosen(INTERNAL_MAIL, copy)
    if chosen.value != "none" or not facts.is_among_us(copy.message):
        return None
    if not copy.sent and copy.owner_id in facts.queues:
        to_queues = facts.chosen(INTERNAL_MAIL_TO_QUEUES, copy)
        return None if to_queues.value == "track" else f"internal: {to_queues.reason}"
    return f"internal: {chosen.reason}"


def _waits_for(evidence: Evidence, state: State) -> tuple[tuple[Method, str], ...]:
    """Name the emails with which the rule would want the message."""
    wanted, _ = RULES[state.rule].judge(replace(evidence, answers=True))
    return state.waits_for if wanted else ()


def _evidence(state: State, facts: Facts) -> Evidence:
    message, sent = state.copy.message, state.copy.sent
    recipients = [mention.address for mention in message.mentions if mention.role in ("to", "cc", "bcc")]
    people = recipients if sent else [message.sender or ""]
    return Evidence(
        answers=state.correlated is not None or state.stranger,
        kinds=frozenset(record.kind for address in people for record in facts.records_of(address)),
        judged_by="recipient" if sent else "sender",
    )
