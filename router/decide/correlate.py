"""Which earlier email of the CRM the message answers: by In-Reply-To, References, our private header, or a token.

A read receipt belongs to the email that it names. In-Reply-To, References and read receipts hold a Message-ID, which
nobody can guess, so they count from any sender. All else can be forged, guessed or overheard, and counts only from a
sender who was on the email that it names: our private header, tokens, also those of the CRM before, and where the
message names no Message-ID at all, Exchange's Thread-Index and what `smart` makes of subject, people and time. From
another sender a token makes the message one for a person to look at (`State.stranger`), and the rest is passed over.

Every email that the message may answer is noted, with the reason why it was not taken.
"""

from collections.abc import Iterator
from dataclasses import replace

from router.decide.smart import Scored, likely
from router.decide.state import State
from router.model import SUGGESTED, Candidate, Copy, Facts, Message, Method, ThreadEmail
from router.parse.subject import MESSAGES, is_forward, may_forward, subject_words

NEW_ON_THREAD = "new-on-thread"
SUBJECT_CHANGED = "subject-changed"
"""The flag of an answer whose subject has nothing in common with that of the email that it answers."""

_MOST_NAMED = 5  # candidates that the reasons name
_STRANGER = "the sender was never on it"
_FORWARD = "a forward is no answer"
_OTHER = "another one is nearer"


def correlate(state: State, facts: Facts) -> State:
    """Link the message to the email it answers. A forward is no answer: its emails are only suggested."""
    if state.correlated is not None:
        return state  # by `reported`
    if _is_forward(state.copy):
        return _suggest(state, facts)
    named = list(_named_by_ids(state.copy, facts))
    if named:
        return _by_id(state, named)
    for email in _claimed(state, facts):
        if state.copy.message.sender in email.participants:
            state = state.finding(Candidate(email.id, "private-header"))
            return state.answering(email, "private-header", "answers a CRM email, by private-header")
        state = state.finding(Candidate(email.id, "private-header", _STRANGER))
    state = _by_token(replace(state, waits_for=tuple(_ids(state.copy))), facts)
    if state.correlated is not None or state.stranger or state.copy.message.thread_ids:
        return state
    state = _by_thread_index(state, facts)
    return state if state.correlated is not None else _by_likeness(state, facts)


def _is_forward(copy: Copy) -> bool:
    """Whether the subject says that it is a forward, or may say so and the text or an attachment does."""
    subject = copy.message.subject
    if is_forward(subject) or not may_forward(subject):
        return is_forward(subject)
    return any(mark.kind == "forward" for mark in copy.text_marks) or any(
        one.media_type in MESSAGES for one in copy.attachments
    )


# --- By Message-ID ---


def _by_id(state: State, named: list[tuple[Method, ThreadEmail]]) -> State:
    message, (method, email) = state.copy.message, named[0]
    others = (Candidate(other.id, by, _OTHER) for by, other in named[1:])
    state = state.finding(Candidate(email.id, method), *others)
    state = state.answering(email, method, f"answers a CRM email, by {method}")
    if message.sender not in email.participants and not state.copy.sent:
        state = state.noting("the sender is new on the thread", flags=(NEW_ON_THREAD,))
    if not state.copy.classification.automatic and _is_other_subject(message.subject, email.subject):
        state = state.noting("its subject has nothing in common with that of the email", flags=(SUBJECT_CHANGED,))
    return state


def _is_other_subject(subject: str, former: str) -> bool:
    words, before = subject_words(subject), subject_words(former)
    return bool(words and before) and words.isdisjoint(before)


def _named_by_ids(copy: Copy, facts: Facts) -> Iterator[tuple[Method, ThreadEmail]]:
    """Yield the CRM emails that In-Reply-To, then References, then a read receipt name, the nearest first."""
    for method, message_id in _ids(copy):
        if email := facts.emails.of_message_id(message_id):
            yield method, email


def _ids(copy: Copy) -> Iterator[tuple[Method, str]]:
    """Yield the Message-IDs of what the copy may answer, the nearest first, and how it names them."""
    for message_id in copy.message.in_reply_to:
        yield "in-reply-to", message_id
    for message_id in reversed(copy.message.references):
        yield "references", message_id
    if copy.classification.read_id:
        yield "read-receipt", copy.classification.read_id


def _claimed(state: State, facts: Facts) -> Iterator[ThreadEmail]:
    """Yield the CRM emails that our private header names."""
    for message_id in state.copy.message.claims:
        if email := facts.emails.of_message_id(message_id):
            yield email


# --- By token ---


def _by_token(state: State, facts: Facts) -> State:
    named = _named_by_tokens(state.copy.message, facts)
    if not named:
        return state
    mine = [(method, email) for method, email in named if _was_on(state.copy, email)]
    strangers = [Candidate(email.id, method, _STRANGER) for method, email in named if not _was_on(state.copy, email)]
    if not mine:
        state = state.finding(*strangers)
        return replace(state.noting("has the token of a CRM email that the sender was never on"), stranger=True)
    method, email = mine[0]
    others = (Candidate(other.id, by, "the sender was on a newer one, too") for by, other in mine[1:])
    state = state.finding(Candidate(email.id, method), *others, *strangers)
    state = state.answering(email, method, f"answers a CRM email, by {method}")
    candidates = (f"another candidate by {by}: email {other.id}" for by, other in named if other is not email)
    return state.noting(*list(candidates)[:_MOST_NAMED])


def _named_by_tokens(message: Message, facts: Facts) -> list[tuple[Method, ThreadEmail]]:
    """Name the emails whose token the message has, the newest first."""
    emails: dict[ThreadEmail, Method] = {}
    for token in facts.matching.legacy_tokens_of(message):
        emails |= dict.fromkeys(facts.emails.of_legacy_token(token), "legacy-token")
    for token in facts.matching.tokens_of(message):
        if email := facts.emails.of_token(token):
            emails[email] = "token"
    named = ((method, email) for email, method in emails.items())
    return sorted(named, key=lambda one: one[1].created_at, reverse=True)


def _was_on(copy: Copy, email: ThreadEmail) -> bool:
    return copy.sent or copy.message.sender in email.participants


# --- By Thread-Index, and by what is alike ---


def _by_thread_index(state: State, facts: Facts) -> State:
    """Link to the nearest email above it in Exchange's index; where the CRM has none of those, to the newest of it."""
    message = state.copy.message
    if not message.goes_on:
        return state
    found = facts.emails.of_conversation(message.conversation)
    mine = [(index, email) for index, email in found if _was_on(state.copy, email)]
    strangers = [Candidate(email.id, "thread-index", _STRANGER) for _, email in found if not _was_on(state.copy, email)]
    if not mine:
        return state.finding(*strangers)

    def nearness(one: tuple[str, ThreadEmail]) -> tuple[int, float]:
        index, email = one
        is_above = len(index) < len(message.thread_index) and message.thread_index.startswith(index)
        return len(index) if is_above else 0, email.created_at.timestamp()

    (_, email), *others = sorted(mine, key=nearness, reverse=True)
    others_found = (Candidate(other.id, "thread-index", _OTHER) for _, other in others)
    state = state.finding(Candidate(email.id, "thread-index"), *others_found, *strangers)
    return state.answering(email, "thread-index", "answers a CRM email, by thread-index")


def _by_likeness(state: State, facts: Facts) -> State:
    """Link to the likeliest email above the threshold, or suggest it. What a machine wrote is left alone."""
    copy, matching = state.copy, facts.matching
    smart = matching.smart_of(copy.owner_id)
    if smart == "off" or copy.classification.automatic or copy.classification.bulk:
        return state
    scored = likely(copy, facts.emails.similar_to(copy))
    links = [one for one in scored if smart == "link" and one.score >= matching.threshold][:1]
    why_not = (
        _OTHER
        if links
        else "smart matching only suggests"
        if smart == "suggest"
        else "its score is below the threshold"
    )
    state = state.finding(
        *(Candidate(one.email.id, "smart-matching", "", one.score) for one in links),
        *(Candidate(one.email.id, "smart-matching", why_not, one.score) for one in scored),
    )
    for one in links:
        reason = f"answers a CRM email, by smart-matching: score {one.score}, {matching.threshold} links"
        state = state.answering(one.email, "smart-matching", reason)
    suggested = [one for one in scored if one not in links and one.score >= SUGGESTED]
    return state.noting(*(_suggestion(one, matching.threshold) for one in suggested[:_MOST_NAMED]))


def _suggestion(one: Scored, threshold: int) -> str:
    return f"suggested by smart matching: email {one.email.id}, score {one.score}, {threshold} links"


def _suggest(state: State, facts: Facts) -> State:
    named = [*_named_by_ids(state.copy, facts), *_named_by_tokens(state.copy.message, facts)]
    state = state.finding(*(Candidate(email.id, method, _FORWARD) for method, email in named))
    ids = dict.fromkeys(email.id for _, email in named)
    return state.noting(*(f"a forward is not an answer; suggested: email {id_}" for id_ in list(ids)[:_MOST_NAMED]))
