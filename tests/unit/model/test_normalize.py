import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import normalize
from router.model.lower_case import lower_case

HARD = st.text(
    st.sampled_from('aAzZ09.-@xXnNüÜß\u0130\u0131\u03a3\u03c2\u017f\u212a\u0301\u0331\u030aHJTW \t"\\\uff21\uff0e'),
    max_size=30,
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
        ("a@xn--abc-.example", "a@xn--abc-.example"),  # a stranger's domain, and not a@abc.example
        ("a@XN--ABC-.example", "a@xn--abc-.example"),
        ("a@xn--bc-0qu.example", "a@xn--bc-0qu.example"),  # of a sign that is a letter in lower case: \u212abc
        ("a@xn--bcher-2pa.example", "a@xn--bcher-2pa.example"),  # its Ü is a capital letter
        ("a@xn--bucher-xyd.example", "a@xn--bucher-xyd.example"),  # decomposed
        ("a@xn--strae-oqa.example", "a@straße.example"),
        ("a@xn--client-gf0c.example", "a@xn--client-gf0c.example"),  # a blank without width: it shows as `client`
        ("a@xn--client-cja.example", "a@xn--client-cja.example"),  # a soft hyphen
        ("a@xn--client-nf0c.example", "a@xn--client-nf0c.example"),  # a joiner, which Latin letters do not have
        ("a@xn--a.example", "a@xn--a.example"),  # a control
        ("a@xn--mgba3gch31f060k.example", "a@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example"),  # as in Persian
        ("a@xn--xn--abc--.example", "a@xn--xn--abc--.example"),  # a label that hides another
        ("a@xn--xn--mnchen-3ya-.example", "a@xn--xn--mnchen-3ya-.example"),
        ("ΝΊΚΟΣ@ΒΌΛΟΣ.example", "νίκοσ@βόλοσ.example"),  # whatever stands around the sigma
        ("\u0130@x.example", "i\u0307@x.example"),
        ("H\u0331@x.example", "\u1e96@x.example"),  # composes only in lower case
        ("a@xn--99999999999.example", "a@xn--99999999999.example"),  # no punycode
        (" ann@client.example\r\n", "ann@client.example"),
        ('"Ann"@client.example', "ann@client.example"),  # quoted without need
        ('"a\\n\\n"."smith"@client.example', "ann.smith@client.example"),
        ('"ann smith"@client.example', '"ann smith"@client.example'),
        ('"ann@client.example"@x.example', '"ann@client.example"@x.example'),
        ("\uff21nn@\uff43lient\uff0eexample", "ann@client.example"),  # of full width
        ("ann@client\u3002example", "ann@client.example"),
        ("ann@\uff38n--mnchen-3ya.example", "ann@münchen.example"),
        ("ann@xn--lient-op33a.example", "ann@xn--lient-op33a.example"),  # of full width in punycode: a stranger's
    ],
)
def test_t48_t49_t50_addresses_are_compared_in_one_form(written: str, normalized: str) -> None:
    assert normalize(written) == normalized


def test_lower_case_is_pythons_letter_by_letter_as_far_as_unicode_14_knows() -> None:
    letters = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    changed = {letter for letter in letters if lower_case(letter) != letter}
    assert {letter for letter in changed if lower_case(letter) != letter.lower()} == set()
    later = {letter for letter in letters if letter.lower() != letter} - changed
    assert len(changed) == 1433
    assert not later or sys.version_info >= (3, 14)  # of Unicode 15 and 15.1, no letter has a small one
