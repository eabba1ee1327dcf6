"""Whether a record is made of an email: a case, a contact or a lead.

The first rule that fits decides: of the database, and then of the profile that brought the mail. Nothing is made of
what no person wrote to the owner: automatic mail, reports, mail to many, loops, and what our own server denies. Nor is
it of mail of the past, of what the owner sent, or of a duplicate that may be forged. What a person released is
believed. What is wanted is only noted here, and carried out later.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from router.decide.trust import denial
from router.model import Copy, Creation, CreationRule, Decision, Disposition, Facts, Message
from router.model.address_pattern import patterns_of
from router.model.creation import DATABASE, WrongRule
from router.model.creation_fields import LONGEST, fill
from router.parse.headers import read_text

NO_SUBJECT: Final = "(no subject)"

_ARTICLED: Final = {"case": "a case", "contact": "a contact", "lead": "a lead"}
_MOST_VALUES: Final = 20
"""As many headers of one name are looked at."""
_LONGEST_VALUE: Final = 2000
"""As many bytes of each."""


def create(copy: Copy, facts: Facts, decision: Decision) -> Decision:
    """Note what a rule wants made of a copy, or why nothing is made of it, where the owner has any rules."""
    if decision.decided_before or decision.disposition not in (Disposition.PROMOTED, Disposition.DUPLICATE):
        return decision
    is_queue = copy.owner_id in facts.queues
    found = [rule for rule in (*facts.creation_rules_for(copy), *copy.creation_rules) if rule.owners or is_queue]
    if not found or not copy.judged:
        return decision
    rules = [rule for rule in found if isinstance(rule, CreationRule)]
    if refusal := _refusal(copy, decision, facts, rules):
        return _because(decision, f"no record is made of it: {refusal}")
    wrong = [rule.name for rule in found if isinstance(rule, WrongRule)]
    decision = _because(decision, *(f"rule '{name}' of {DATABASE} is wrong, and passed over" for name in wrong))
    rule = _first(rules, copy, facts)
    if rule is None or rule.makes == "nothing":
        words = f"{rule.title} wants nothing" if rule else "no rule fits"
        return _because(decision, f"no record is made of it: {words}")
    decision = _because(decision, f"{rule.title} wants {_ARTICLED[rule.makes]}")
    return replace(decision, creation=_creation(rule, copy.message))


def _because(decision: Decision, *reasons: str) -> Decision:
    return replace(decision, reasons=(*decision.reasons, *reasons))


def _refusal(copy: Copy, decision: Decision, facts: Facts, rules: Sequence[CreationRule]) -> str | None:
    """Say why no rule may make anything of it; the first reason counts."""
    kind = copy.classification
    reasons = (
        (copy.sent, "the owner sent it"),
        (copy.backfilled, "it is mail of the past"),
        (copy.headers_only, "only its headers were fetched"),
        (kind.report or copy.null_sender, "it is a report of a mail system"),
        (kind.read_id, "it is a read receipt"),
        (kind.calendar and kind.calendar.method == "reply", "it answers an invitation"),
        (kind.automatic, "it is automatic"),
        (kind.bulk, "it is mail to many"),
        (decision.doubtful, "this copy may be forged"),
        # A person who released it has seen what speaks against the way on which it came.
        (kind.loop and not copy.released, "it is in a loop"),
        (not copy.released and denial(copy), "our server does not say that it is from its sender"),
        (
            facts.is_among_us(copy.message) and not any(rule.internal for rule in rules),
            "it is internal, and no rule wants internal mail",
        ),
    )
    return next((words for holds, words in reasons if holds), None)


def _first(rules: Sequence[CreationRule], copy: Copy, facts: Facts) -> CreationRule | None:
    message = copy.message
    sender = message.sender or ""
    known = bool(facts.records.get(sender) or facts.records_of(sender)) if sender else False
    recipients = {one for address in (*message.recipients, *copy.recipients) for one in patterns_of(address.lower())}
    senders = set(patterns_of(sender))
    subject = message.subject.casefold()
    is_internal = facts.is_among_us(message)
    for rule in rules:
        if is_internal and not rule.internal:
            continue
        if rule.makes in ("contact", "lead") and (known or not sender):
            continue
        if rule.sender != "any" and (rule.sender == "known") != known:
            continue
        if rule.to and recipients.isdisjoint(rule.to):
            continue
        if rule.from_ and senders.isdisjoint(rule.from_):
            continue
        if rule.subject and not any(text.casefold() in subject for text in rule.subject):
            continue
        if all(_has(message, name, text) for name, text in rule.headers):
            return rule
    return None


def _has(message: Message, name: str, text: str) -> bool:
    """Whether a header of this name has the text in it, in upper or lower case."""
    values = islice((value for written, value in message.headers if written == name), _MOST_VALUES)
    return any(text.casefold() in read_text(value[:_LONGEST_VALUE]).casefold() for value in values)


def _creation(rule: CreationRule, message: Message) -> Creation:
    assert rule.makes != "nothing", "nothing is noted of that"
    mention = next(iter(message.of("from")), None)
    sender = mention.address if mention else ""
    name = ((mention.name.strip() if mention else "") or sender.rpartition("@")[0])[:LONGEST]
    values = {
        "subject": message.subject,
        "sender_name": name,
        "sender_address": sender,
        "sender_domain": message.sender_domain,
    }
    filled = {field: fill(template, values) for field, template in rule.fields}
    if rule.makes == "case":
        filled["subject"] = filled.get("subject") or fill("{subject}", values) or NO_SUBJECT
    else:
        filled["name"] = filled.get("name") or name or sender
    return Creation(
        rule=rule.name,
        makes=rule.makes,
        sender=sender,
        sender_name=name,
        unknown_sender=rule.unknown_sender,
        reopen_days=rule.reopen_days,
        priority=rule.priority,
        fields=tuple(filled.items()),
    )
