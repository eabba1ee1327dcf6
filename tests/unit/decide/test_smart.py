"""What smart matching makes of subject, people and time; the real database is asked in tests/integration."""

from datetime import timedelta
from uuid import uuid4

import pytest

from router.decide.smart import likely
from router.model import ThreadEmail
from tests.support.build import NOW, copy, mail

SALES, ANN, BOB = "sales@example.com", "ann@client.example", "bob@client.example"


def of(*people: str, days: float = 0) -> ThreadEmail:
    return ThreadEmail(uuid4(), None, frozenset(people), NOW - timedelta(days=days))


@pytest.mark.parametrize(
    ("subject", "email", "score"),
    [
        ("Re: Chairs for Oslo", of(SALES, ANN), 100),
        ("Re: Offer", of(SALES, ANN), 90),
        ("Re: Offer", of(SALES, ANN, days=4), 85),
        ("Re: Offer", of(SALES, ANN, days=15), 80),
        ("Re: Offer", of(SALES, ANN, days=31), 75),
        ("Re: Offer", of(SALES, ANN, days=-4), 85),
        ("Re: Offer", of(BOB, ANN), 80),
        ("Offer", of(SALES, ANN), 55),
        ("Chairs for Oslo", of(SALES, ANN), 65),
        ("Re: Hello", of(SALES, ANN), 0),
        ("Re: the new order", of(SALES, ANN), 0),
        ("Re: it is so", of(SALES, ANN), 0),
    ],
)
def test_the_score_is_what_both_have_in_common(subject: str, email: ThreadEmail, score: int) -> None:
    [one] = likely(copy(mail(subject=subject)), [email])
    assert one == (email, score)


def test_each_email_with_that_subject_among_others_takes_from_it() -> None:
    mine = of(SALES, ANN)
    for others in range(12):
        [one] = likely(copy(mail(subject="Re: Offer")), [mine, *(of(SALES, BOB) for _ in range(others))])
        assert one.score == max(0, 90 - 10 * others)


def test_the_likeliest_comes_first_and_of_those_the_newest() -> None:
    far, near, nearest = of(SALES, ANN, days=5), of(SALES, ANN, days=2), of(SALES, ANN, days=1)
    assert [one.email for one in likely(copy(mail(subject="Re: Offer")), [far, near, nearest])] == [nearest, near, far]


def test_an_email_that_the_sender_was_not_on_is_none() -> None:
    assert likely(copy(mail(subject="Re: Offer")), [of(SALES, BOB)]) == []
