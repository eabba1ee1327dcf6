"""Why an email is not taken, in a class of a few words."""

import pytest

from router.model.failure import CLASSES, NOT_COMPOSED, class_of, classes_of
from transports.base import Outcome


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("5.1.1", "mailbox unknown"),
        ("5.1.10", "domain unknown"),
        ("5.1.3", "address"),
        ("5.1.8", "sender refused"),
        ("4.2.2", "mailbox full"),
        ("5.2.1", "mailbox disabled"),
        ("5.2.3", "size"),
        ("5.3.4", "size"),
        ("552", "size"),
        ("4.4.1", "network or routing"),
        ("5.5.2", "protocol"),
        ("5.6.0", "content"),
        ("5.7.26", "policy"),
        ("4.7.8", "login refused"),
        ("550", "other"),
        ("5.9.1", "other"),
        ("5.1.1 <a@kunde.test>", "other"),
        ("", NOT_COMPOSED),
    ],
)
def test_a6_a_code_has_a_class(code: str, name: str) -> None:
    assert class_of(code) == name
    assert name in CLASSES


def test_a6_the_class_of_most_recipients_comes_first() -> None:
    codes = {"a": "5.1.1", "b": "5.2.2", "c": "5.2.2", "d": "", "e": "4.2.2"}
    outcomes = [Outcome(f"{name}@kunde.test", "refused", code, "") for name, code in codes.items()]
    taken = [Outcome("z@kunde.test", "accepted", "2.0.0", ""), Outcome("y@kunde.test", "unknown", "", "")]
    assert classes_of([*taken, *outcomes]) == ["mailbox full", "mailbox unknown", NOT_COMPOSED]
