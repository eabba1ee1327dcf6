from typing import Literal

import pytest

from router.decide.rules import RULES, Evidence
from router.model import Rule

CONTACT, USER, VEHICLE = frozenset({"contact"}), frozenset({"user"}), frozenset({"vehicle"})
NOBODY: frozenset[str] = frozenset()


def test_every_rule_has_its_judgment() -> None:
    assert set(RULES) == set(Rule)


@pytest.mark.parametrize("kinds", [NOBODY, CONTACT, USER, VEHICLE])
@pytest.mark.parametrize("answers", [False, True])
def test_a_wider_rule_wants_what_a_narrower_one_wants(answers: bool, kinds: frozenset[str]) -> None:
    order = [Rule.NONE, Rule.REPLIES, Rule.KNOWN, Rule.EMAIL_ENABLED, Rule.ALL]
    wanted = [RULES[rule].judge(Evidence(answers, kinds, "sender")).wanted for rule in order]
    assert wanted == sorted(wanted)


@pytest.mark.parametrize(
    ("rule", "answers", "kinds", "judged_by", "wanted", "reason"),
    [
        (Rule.ALL, False, NOBODY, "sender", True, "the rule wants all mail"),
        (Rule.ALL, False, NOBODY, "recipient", True, "the rule wants all mail"),
        (Rule.REPLIES, True, NOBODY, "sender", True, "the rule wants answers to CRM email"),
        (Rule.REPLIES, True, NOBODY, "recipient", True, "the rule wants answers to CRM email"),
        (Rule.REPLIES, False, CONTACT, "sender", False, "answers no CRM email"),
        (Rule.KNOWN, False, CONTACT, "sender", True, "the sender is a contact, lead or account"),
        (Rule.KNOWN, False, CONTACT | USER, "recipient", True, "a recipient is a contact, lead or account"),
        (Rule.KNOWN, False, VEHICLE, "sender", False, "the sender is no contact, lead or account"),
        (Rule.KNOWN, False, NOBODY, "recipient", False, "no recipient is a contact, lead or account"),
        (Rule.KNOWN, False, USER, "sender", False, "internal"),
        (Rule.KNOWN, False, USER, "recipient", False, "internal"),
        (Rule.EMAIL_ENABLED, False, VEHICLE, "sender", True, "the sender is a record of the CRM"),
        (Rule.EMAIL_ENABLED, False, VEHICLE, "recipient", True, "a recipient is a record of the CRM"),
        (Rule.EMAIL_ENABLED, False, NOBODY, "sender", False, "the sender is no record of the CRM"),
        (Rule.EMAIL_ENABLED, True, NOBODY, "sender", True, "the rule wants answers to CRM email"),
        (Rule.KNOWN, True, NOBODY, "sender", True, "the rule wants answers to CRM email"),
        (Rule.KNOWN, True, USER, "sender", True, "the rule wants answers to CRM email"),
        (Rule.KNOWN, True, CONTACT, "sender", True, "the sender is a contact, lead or account"),
        (Rule.EMAIL_ENABLED, False, NOBODY, "recipient", False, "no recipient is a record of the CRM"),
        (Rule.NONE, True, CONTACT, "sender", False, "the owner's rule is none"),
        (Rule.NONE, True, CONTACT, "recipient", False, "the owner's rule is none"),
    ],
)
def test_a_rule_judges_and_says_why(
    rule: Rule,
    answers: bool,
    kinds: frozenset[str],
    judged_by: Literal["sender", "recipient"],
    wanted: bool,
    reason: str,
) -> None:
    assert RULES[rule].judge(Evidence(answers, kinds, judged_by)) == (wanted, reason)
