from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.profile.patterns import PatternTable, exactness, overlap, parse


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Sales@Example.COM", "sales@example.com"),
        (" *@example.com ", "*@example.com"),
        ("sales-*@*.example.com", "sales-*@*.example.com"),
        ("*@*", "*@*"),
        ("büro@münchen.example", "büro@münchen.example"),
    ],
)
def test_a_pattern_is_normalized(text: str, pattern: str) -> None:
    assert parse(text) == pattern


@pytest.mark.parametrize(
    "text", ["", "*", "example.com", "@example.com", "a@", "a@b@c", "a b@c", "a?@b", "[ab]@c", "<a@b>"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address: write"):
        parse(text)


def test_an_address_is_more_exact_than_any_glob_and_a_longer_glob_than_a_shorter() -> None:
    ordered = ["a@b.c", "sales-*@example.com", "*@example.com", "*@*.com", "*@*"]
    assert sorted(ordered, key=exactness, reverse=True) == ordered


def test_the_most_exact_pattern_finds_whatever_the_order() -> None:
    entries = [("*@*", 1), ("a@x.example", 2), ("*@x.example", 3), ("a*@x.example", 4)]
    for routes in (PatternTable(entries), PatternTable(reversed(entries))):
        assert routes.find("A@X.example") == 2
        assert routes.find("ab@x.example") == 4
        assert routes.find("b@x.example") == 3
        assert routes.find("b@y.example") == 1
        assert routes.find("nobody") is None


def test_a_dot_is_a_dot_and_the_whole_address_is_meant() -> None:
    routes = PatternTable([("*@x.example", 1)])
    assert routes.find("a@xyexample") is None
    assert routes.find("a@x.example.org") is None


short = st.text("ab*", max_size=4)


@settings(deadline=None)
@given(short, short)
def test_patterns_overlap_exactly_where_one_text_matches_both(one: str, other: str) -> None:
    texts = ["".join(letters) for length in range(9) for letters in product("ab", repeat=length)]
    first, second = PatternTable([(one, 1)]), PatternTable([(other, 1)])
    assert overlap(one, other) == any(first.find(text) and second.find(text) for text in texts)
