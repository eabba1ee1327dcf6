"""What is asked for, and why emails failed, in words."""

import pytest

from router.operations.status import Only, words_of_code


@pytest.mark.parametrize(
    ("only", "profile", "mailbox", "wanted"),
    [
        (Only(), "staff", "", True),
        (Only("staff"), "staff", "ann@in.test", True),
        (Only("incoming.staff"), "staff", "", True),
        (Only("sales"), "staff", "", False),
        (Only(mailbox="Ann@IN.test"), "staff", "ann@in.test", True),
        (Only(mailbox="ann@in.test"), "staff", "bob@in.test", False),
        (Only(mailbox="ann@in.test"), "staff", "", False),
        (Only("staff", "ann@in.test"), "sales", "ann@in.test", False),
    ],
)
def test_only_what_is_asked_for(only: Only, profile: str, mailbox: str, wanted: bool) -> None:
    assert only.wants(profile, mailbox) is wanted


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "no relay was asked"),
        ("5", "refused (5)"),
        ("5.1", "a wrong address (5.1)"),
        ("5.7", "policy or security (5.7)"),
        ("5.9", "refused (5.9)"),
        ("4", "given up after repeated tries"),
        ("4.4", "network or routing (4.4, given up after repeated tries)"),
    ],
)
def test_a_code_in_words(code: str, words: str) -> None:
    assert words_of_code(code) == words
