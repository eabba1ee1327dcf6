from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal
from uuid import uuid4

import pytest

from router.backoff import Backoff
from router.model import Outgoing
from router.outgoing.outcome import delay_after, for_the_log, judge
from transports.base import Outcome

NOW = datetime(2026, 11, 1, tzinfo=UTC)
EMAIL = Outgoing(
    id=uuid4(),
    attempt_id=uuid4(),
    attempt_number=1,
    owner_id=uuid4(),
    mailbox="ulla@example.com",
    message_id="1@example.com",
    token="k3m9x2p7",
    date=NOW,
    subject="Offer",
    text="hello",
    html=None,
    in_reply_to=None,
    thread_ids=(),
    mentions=(),
    recipients=("a@kunde.test", "b@kunde.test"),
)
A: Literal["a@kunde.test"] = "a@kunde.test"


def outcome(state: Literal["accepted", "deferred", "refused", "unknown"], recipient: str = A) -> Outcome:
    words = {"accepted": "2.0.0 taken", "deferred": "4.2.2 mailbox full", "refused": "5.1.1 no such user"}
    text = words.get(state, "the connection was lost")
    return Outcome(recipient, state, text.split()[0] if state != "unknown" else "", text)


@pytest.mark.parametrize(
    ("states", "status", "words"),
    [
        (["accepted", "accepted"], "sent", None),
        (["accepted", "refused"], "sent", "b@kunde.test: 5.1.1 no such user"),
        (["refused", "refused"], "failed", "a@kunde.test, b@kunde.test: 5.1.1 no such user"),
        (["accepted", "deferred"], "pending_send", "b@kunde.test: 4.2.2 mailbox full"),
        (["refused", "deferred"], "pending_send", "b@kunde.test: 4.2.2 mailbox full"),
        (["unknown", "deferred"], "unknown", "a@kunde.test: the connection was lost"),
        (["unknown", "accepted"], "unknown", "a@kunde.test: the connection was lost"),
    ],
)
def test_what_an_attempt_comes_to(states: list[str], status: str, words: str | None) -> None:
    outcomes = [outcome(state, one) for state, one in zip(states, EMAIL.recipients, strict=True)]  # type: ignore[arg-type]
    result = judge(EMAIL, outcomes, 10, NOW, Random(1))
    assert (result.status, result.reason) == (status, words)
    assert (result.next_at is not None) == (status == "pending_send")
    assert len(result.outcomes) == 2


def test_after_the_last_attempt_what_was_deferred_has_failed() -> None:
    last = replace(EMAIL, attempt_number=3, recipients=(A,))
    assert judge(last, [outcome("deferred")], 3, NOW, Random(1)).status == "failed"
    assert judge(replace(last, attempt_number=2), [outcome("deferred")], 3, NOW, Random(1)).status == "pending_send"


def test_it_is_sent_if_others_took_it_at_an_earlier_attempt() -> None:
    assert judge(replace(EMAIL, taken=1), [outcome("refused")], 10, NOW, Random(1)).status == "sent"
    assert judge(replace(EMAIL, taken=1, recipients=()), [], 10, NOW, Random(1)).status == "sent"


def test_pauses_grow_to_four_hours_and_differ() -> None:
    dice = Random(1)
    delays = [delay_after(attempt, dice) for attempt in (1, 2, 5, 9, 100)]
    assert delays == sorted(delays)
    assert timedelta(seconds=48) <= delays[0] <= timedelta(seconds=72)
    assert delays[-1] <= timedelta(hours=4.8)
    assert delay_after(3, dice) != delay_after(3, dice)


def test_backoff_grows_is_bounded_heeds_the_server_and_is_reset() -> None:
    backoff = Backoff(first=1, longest=8, dice=Random(1))
    pauses = [backoff.next() for _ in range(10)]
    assert 0.5 <= pauses[0] <= 1
    assert all(4 <= pause <= 8 for pause in pauses[3:])
    assert backoff.next(at_least=30) == 30
    backoff.reset()
    assert backoff.next() <= 1


def test_t24_the_ids_that_a_relay_gives_an_email_are_those_of_its_replies_to_who_took_it() -> None:
    told = "250 2.6.0 <new@relay.test> taken"
    outcomes = [Outcome(A, "accepted", "2.6.0", told), Outcome("b@kunde.test", "accepted", "2.6.0", told)]
    outcomes.append(Outcome("c@kunde.test", "refused", "5.1.1", "not for <other@relay.test>"))
    assert judge(EMAIL, outcomes, 10, NOW, Random(1)).relay_ids == ("new@relay.test",)
    assert judge(EMAIL, outcomes[2:], 10, NOW, Random(1)).relay_ids == ()


def test_a6_the_log_has_codes_and_domains_but_no_addresses_and_no_words() -> None:
    outcomes = [
        Outcome("a@kunde.test", "accepted", "2.0.0", "taken"),
        Outcome("b@kunde.test", "refused", "5.1.1", "<b@kunde.test> is unknown"),
        Outcome("c@kunde.test", "refused", "5.1.1", "<c@kunde.test> is unknown"),
        Outcome("d@other.test", "deferred", "4.2.2", "full"),
        Outcome("e@other.test", "unknown", "", "the connection was lost"),
    ]
    assert for_the_log(outcomes) == [
        "refused 5.1.1 at kunde.test (2)",
        "deferred 4.2.2 at other.test",
        "unknown, no code, at other.test",
    ]
    many = [Outcome(f"a@{number}.test", "refused", "5.1.1", "") for number in range(300)]
    assert for_the_log(many) == [*(f"refused 5.1.1 at {number}.test" for number in range(10)), "and 290 more"]
