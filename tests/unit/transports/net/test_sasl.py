"""What is said by each mechanism, byte for byte."""

from collections.abc import Callable

import pytest

from transports._net import sasl
from transports.errors import Permanent


def test_plain_carries_any_character_but_nul() -> None:
    # The example of RFC 4616 §4, and one in another script.
    assert sasl.plain("tim", "tanstaaftanstaaf") == sasl.Mechanism("PLAIN", (b"\0tim\0tanstaaftanstaaf",))
    (response,) = sasl.plain("müller", "a\r\n b").responses
    assert response == "\0müller\0a\r\n b".encode()


def test_plain_says_in_whose_name() -> None:
    assert sasl.plain("Kurt", "xipj3plmq", "Ursel").responses == (b"Ursel\0Kurt\0xipj3plmq",)


def test_login_says_one_after_the_other() -> None:
    assert sasl.login("tim", "tanstaaf") == sasl.Mechanism("LOGIN", (b"tim", b"tanstaaf"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: sasl.plain("a\0b", "secret"),
        lambda: sasl.plain("a", "sec\0ret"),
        lambda: sasl.plain("a", "secret", "b\0"),
        lambda: sasl.login("a\0b", "secret"),
        lambda: sasl.login("a", "sec\0ret"),
    ],
)
def test_a_nul_is_refused(make: Callable[[], sasl.Mechanism]) -> None:
    with pytest.raises(Permanent, match="cannot hold a NUL") as refused:
        make()
    assert "secret" not in str(refused.value)
