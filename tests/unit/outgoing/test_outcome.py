from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal
from uuid import uuid4

import pytest

from router.model import Outgoing
from router.outgoing.outcome import Cause, cause_of, for_the_log, judge, lost_words
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
    last = replace(EMAIL, attempt_number=9, spent=2, recipients=(A,))
    result = judge(last, [outcome("deferred")], 3, NOW, Random(1))
    assert (result.status, result.given_up, result.next_at) == ("failed", (A,), None)
    assert judge(replace(last, spent=1), [outcome("deferred")], 3, NOW, Random(1)).status == "pending_send"
    assert judge(last, [outcome("deferred")], None, NOW, Random(1)).status == "pending_send"


def test_o12_of_those_that_are_given_up_the_others_are_told_apart() -> None:
    last = replace(EMAIL, spent=2)
    result = judge(last, [outcome("deferred"), outcome("refused", "b@kunde.test")], 3, NOW, Random(1))
    assert (result.status, result.given_up) == ("failed", (A,))
    result = judge(last, [outcome("deferred"), outcome("accepted", "b@kunde.test")], 3, NOW, Random(1))
    assert (result.status, result.given_up) == ("sent", (A,))


def test_a18_what_is_deferred_is_tried_for_five_days_if_nothing_else_is_said() -> None:
    for hours, status in ((None, "pending_send"), (119, "pending_send"), (120, "failed")):
        waited = None if hours is None else timedelta(hours=hours)
        late = replace(EMAIL, attempt_number=300, spent=299, deferred_for=waited, recipients=(A,))
        assert judge(late, [outcome("deferred")], None, NOW, Random(1)).status == status
        patient = judge(late, [outcome("deferred")], None, NOW, Random(1), give_up_after=timedelta(days=9))
        assert patient.status == "pending_send"


@pytest.mark.parametrize(
    ("code", "text", "cause"),
    [
        ("4.7.1", "4.7.1 Please come again", Cause.GREYLISTED),
        ("450", "450 Greylisted, see example.com", Cause.GREYLISTED),
        ("451", "451 gray-listing in action", Cause.GREYLISTED),
        ("4.7.0", "4.7.0 Too much of this", Cause.LIMITED),
        ("4.7.8", "no login for ann@in.test: the token server is asked too often", Cause.LOGIN),
        ("4.7.1", "4.7.1 rate limit exceeded", Cause.LIMITED),
        ("4.3.1", "4.3.1 Insufficient system storage", Cause.LIMITED),
        ("450", "450 too many messages, slow down", Cause.LIMITED),
        ("4.3.2", "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded.", Cause.LIMITED),
        ("4.3.2", "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/x", Cause.LIMITED),
        ("421", "421 closing", Cause.CONNECTION),
        ("4.4.2", "the connection was lost", Cause.CONNECTION),
        ("4.3.2", "4.3.2 not now", Cause.CONNECTION),
        ("4.4.1", "4.4.1 mx.kunde.test does not answer", Cause.OTHER),
        ("4.2.2", "4.2.2 mailbox full", Cause.OTHER),
        ("452", "452 later", Cause.OTHER),
    ],
)
def test_why_a_recipient_was_deferred_is_read_from_the_code_and_the_words(code: str, text: str, cause: Cause) -> None:
    deferred = Outcome(A, "deferred", code, text)
    assert cause_of(deferred) is cause
    result = judge(replace(EMAIL, recipients=(A,), spent=2), [deferred], 3, NOW, Random(1))
    # Only what the relay says of this message counts.
    assert (result.status == "failed") == result.spent == cause.counts
    assert (lost_words([deferred]) is not None) == (cause is Cause.CONNECTION)


def test_what_is_wrong_with_a_relay_is_told_without_addresses() -> None:
    """Others are told, too, whose email waits for it."""
    deferred = Outcome(A, "deferred", "4.3.2", f"too busy for <{A.title()}>: come later")
    assert lost_words([deferred]) == "4.3.2 too busy for … come later"
    assert lost_words([Outcome(A, "deferred", "421", "421 closing")]) == "421 closing"


def test_the_next_try_is_that_of_whoever_may_be_asked_first() -> None:
    deferred = [Outcome(A, "deferred", "4.7.1", ""), Outcome("b@kunde.test", "deferred", "4.4.2", "lost")]
    result = judge(EMAIL, deferred, None, NOW, Random(1))
    assert result.next_at is not None
    assert result.next_at - NOW < timedelta(minutes=1)
    assert result.spent


def test_o8_what_is_unknown_is_sent_again_if_the_profile_says_so_and_not_for_ever() -> None:
    email = replace(EMAIL, recipients=(A,))
    result = judge(email, [outcome("unknown")], None, NOW, Random(1), resend=True)
    assert (result.status, result.given_up) == ("pending_send", ())
    assert result.next_at is not None
    assert judge(email, [outcome("unknown")], None, NOW, Random(1)).status == "unknown"
    for attempt, most, status in ((9, None, "pending_send"), (10, None, "unknown"), (3, 3, "unknown")):
        tried = replace(email, attempt_number=attempt)
        assert judge(tried, [outcome("unknown")], most, NOW, Random(1), resend=True).status == status


def test_it_is_sent_if_others_took_it_at_an_earlier_attempt() -> None:
    assert judge(replace(EMAIL, taken=1), [outcome("refused")], 10, NOW, Random(1)).status == "sent"
    assert judge(replace(EMAIL, taken=1, recipients=()), [], 10, NOW, Random(1)).status == "sent"


def test_pauses_grow_to_four_hours_and_differ() -> None:
    dice = Random(1)
    delays = [Cause.OTHER.delay(attempt, dice) for attempt in (1, 2, 5, 9, 100)]
    assert delays == sorted(delays)
    assert timedelta(seconds=48) <= delays[0] <= timedelta(seconds=72)
    assert delays[-1] <= timedelta(hours=4.8)
    assert Cause.OTHER.delay(3, dice) != Cause.OTHER.delay(3, dice)


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
