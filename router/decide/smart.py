"""Smart matching: how likely it is that a message answers an email that nothing in it names.

A score of a hundred, of what both have in common. None of it is proof, so the sender must have been on the email.

    35  the subject begins as an answer does (Re:)
    30  the subject, without that, is the same and has two words or more that tell it from others; 20 for one
    20  the people: 10 for the sender, 10 for a recipient
    15  the time between them: at most 3 days; 10 for 14 days, 5 for 30 days
   -10  for each other email with that subject, among other people: what many emails are called tells nothing

A subject of common words alone (Hello, Invoice) scores nothing. One that does not begin as an answer never scores more
than 65, which is below what links by default: a report that comes every week is no answer to the last one.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from router.model import Copy, ThreadEmail
from router.parse.subject import COMMON_WORDS, is_answer, subject_words

_ANSWER: Final = 35
_ONE_WORD: Final = 20
_WORDS: Final = 30
_PERSON: Final = 10
_TIMES: Final = ((timedelta(days=3), 15), (timedelta(days=14), 10), (timedelta(days=30), 5))
_OF_OTHERS: Final = 10


class Scored(NamedTuple):
    """An email that a message may answer, and how likely that is, of a hundred."""

    email: ThreadEmail
    score: int


def likely(copy: Copy, similar: Sequence[ThreadEmail]) -> list[Scored]:
    """Score the emails that have the subject of a copy: the likeliest first, and of those the newest."""
    message = copy.message
    words = subject_words(message.subject) - COMMON_WORDS
    mine = [email for email in similar if message.sender in email.participants]
    if not words:
        return [Scored(email, 0) for email in mine]
    of_subject = (_ANSWER if is_answer(message.subject) else 0) + (_ONE_WORD if len(words) == 1 else _WORDS)
    of_subject -= _OF_OTHERS * (len(similar) - len(mine))
    scored = [Scored(email, max(0, of_subject + _of_people(copy, email) + _of_time(copy, email))) for email in mine]
    return sorted(scored, key=lambda one: (one.score, one.email.created_at), reverse=True)


def _of_people(copy: Copy, email: ThreadEmail) -> int:
    others = copy.message.recipients - {copy.message.sender}
    return _PERSON + (0 if email.participants.isdisjoint(others) else _PERSON)


def _of_time(copy: Copy, email: ThreadEmail) -> int:
    apart = abs(copy.received_at - email.created_at)
    return next((points for most, points in _TIMES if apart <= most), 0)
