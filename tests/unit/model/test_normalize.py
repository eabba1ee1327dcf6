import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import normalize

HARD = st.text(
    st.sampled_from("aAzZ09.-@xXnNüÜß\u0130\u0131\u03a3\u03c2\u017f\u212a\u0301\u0331\u030aHJTW \t"), max_size=30
)


@given(st.one_of(HARD, st.text(max_size=40), HARD.map(lambda label: f"a@xn--{label}.example")))
def test_normalize_is_idempotent(address: str) -> None:
    once = normalize(address)
    assert normalize(once) == once


@pytest.mark.parametrize(
    ("written", "normalized"),
    [
        ("John.Smith@EXAMPLE.com", "john.smith@example.com"),  # T48
        ("a_mail@x.com", "a_mail@x.com"),  # T49
        ("bücher@xn--mnchen-3ya.example", "bücher@münchen.example"),  # T50
        ("BÜCHER@MÜNCHEN.example", "bücher@münchen.example"),  # T50
        ("a@XN--MNCHEN-3YA.EXAMPLE", "a@münchen.example"),
        ("a@xn--xn--abc--.example", "a@abc.example"),  # a label that hides another
        ("H\u0331@x.example", "\u1e96@x.example"),  # composes only in lower case
        ("a@xn--99999999999.example", "a@xn--99999999999.example"),  # no punycode
        (" ann@client.example\r\n", "ann@client.example"),
    ],
)
def test_t48_t49_t50_addresses_are_compared_in_one_form(written: str, normalized: str) -> None:
    assert normalize(written) == normalized
