"""The tracking rules: which of an owner's mail the CRM gets, and in which words.

| rule            | wants                                        |
|-----------------|----------------------------------------------|
| `all`           | every message                                |
| `replies`       | an answer to a CRM email                     |
| `known`         | a message from a contact, lead or account    |
| `email-enabled` | a message from any record with an address    |
| `none`          | no message                                   |

A message in the owner's own Sent folder is judged by its recipients instead of its sender.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from router.model import Rule

CUSTOMERS = frozenset({"contact", "lead", "account"})
INTERNAL = frozenset({"user", "queue"})


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


class Judgment(NamedTuple):
    """Whether the rule wants the message, and why or why not."""

    wanted: bool
    reason: str


TrackingRule = Callable[[Evidence], Judgment]


def _all(evidence: Evidence) -> Judgment:  # noqa: ARG001  # every rule takes the evidence
    return Judgment(True, "the rule wants all mail")


def _replies(evidence: Evidence) -> Judgment:
    if evidence.answers:
        return Judgment(True, "the rule wants answers to CRM email")
    return Judgment(False, "answers no CRM email")


def _known(evidence: Evidence) -> Judgment:
    if not evidence.kinds.isdisjoint(CUSTOMERS):
        return Judgment(True, evidence.somebody_is("a contact, lead or account"))
    if evidence.kinds and evidence.kinds <= INTERNAL:
        return Judgment(False, "internal")
    return Judgment(False, evidence.nobody_is("contact, lead or account"))


def _email_enabled(evidence: Evidence) -> Judgment:
    if evidence.kinds:
        return Judgment(True, evidence.somebody_is("a record of the CRM"))
    return Judgment(False, evidence.nobody_is("record of the CRM"))


def _none(evidence: Evidence) -> Judgment:  # noqa: ARG001  # every rule takes the evidence
    return Judgment(False, "the owner's rule is none")


RULES: Mapping[Rule, TrackingRule] = {
    Rule.ALL: _all,
    Rule.REPLIES: _replies,
    Rule.KNOWN: _known,
    Rule.EMAIL_ENABLED: _email_enabled,
    Rule.NONE: _none,
}
