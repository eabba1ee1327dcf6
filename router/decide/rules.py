"""The tracking rules: which of an owner's mail the CRM gets, and in which words.

Each rule is one object: the grounds on which it wants a message. A wider rule has the grounds of the narrower ones:
none < replies < known < email-enabled < all.

A message in the owner's own Sent folder is judged by its recipients instead of its sender.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from router.model import INTERNAL, Rule

CUSTOMERS = frozenset({"contact", "lead", "account"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule judges a message by.

    `answers`: the message answers a CRM email, or its token says so. `kinds`: the kinds of the records of the people
    in the role `judged_by`.
    """

    answers: bool
    kinds: frozenset[str]
    judged_by: Literal["sender", "recipient"]

    def somebody_is(self, what: str) -> str:
        """Say that the sender, or a recipient, is `what`: a noun with its article."""
        return f"the sender is {what}" if self.judged_by == "sender" else f"a recipient is {what}"

    def nobody_is(self, what: str) -> str:
        """Say that the sender is, or all recipients are, not `what`: a noun without its article."""
        return f"the sender is no {what}" if self.judged_by == "sender" else f"no recipient is a {what}"


Ground = Callable[[Evidence], str | None]
"""Why a message is wanted, in words; None: not on this ground."""


class Judgment(NamedTuple):
    """Whether the rule wants the message, and why or why not."""

    wanted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TrackingRule:
    """A rule: the first of its `grounds` that holds is why it wants a message, `refusal` says why it does not."""

    name: Rule
    grounds: tuple[Ground, ...]
    refusal: Callable[[Evidence], str]

    def judge(self, evidence: Evidence) -> Judgment:
        """Say whether the rule wants the message."""
        reason = next((reason for ground in self.grounds if (reason := ground(evidence))), None)
        return Judgment(True, reason) if reason else Judgment(False, self.refusal(evidence))


def _any_mail(_: Evidence) -> str | None:
    return "the rule wants all mail"


def _answer(evidence: Evidence) -> str | None:
    return "the rule wants answers to CRM email" if evidence.answers else None


def _from_customer(evidence: Evidence) -> str | None:
    return None if evidence.kinds.isdisjoint(CUSTOMERS) else evidence.somebody_is("a contact, lead or account")


def _from_record(evidence: Evidence) -> str | None:
    return evidence.somebody_is("a record of the CRM") if evidence.kinds else None


def _no_customer(evidence: Evidence) -> str:
    if evidence.kinds and evidence.kinds <= INTERNAL:
        return "internal"
    return evidence.nobody_is("contact, lead or account")


NONE = TrackingRule(Rule.NONE, (), lambda _: "the owner's rule is none")
REPLIES = TrackingRule(Rule.REPLIES, (_answer,), lambda _: "answers no CRM email")
KNOWN = TrackingRule(Rule.KNOWN, (_from_customer, _answer), _no_customer)
EMAIL_ENABLED = TrackingRule(
    Rule.EMAIL_ENABLED, (_from_record, _answer), lambda evidence: evidence.nobody_is("record of the CRM")
)
ALL = TrackingRule(Rule.ALL, (_any_mail,), lambda _: "")

RULES: Mapping[Rule, TrackingRule] = {rule.name: rule for rule in (NONE, REPLIES, KNOWN, EMAIL_ENABLED, ALL)}
