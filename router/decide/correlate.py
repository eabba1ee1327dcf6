"""Which earlier email of the CRM the message answers: by In-Reply-To, References, our private header, or our token.

A read receipt belongs to the email that it names. In-Reply-To, References and read receipts hold a Message-ID, which
nobody can guess, so they count from any sender. Our private header can be forged, and a token is short and can be
overheard: both count only from a sender who was on the email that they name. From another sender the private header is
passed over, and the token makes the message one for a person to look at (`State.stranger`).
"""

from collections.abc import Iterator
from dataclasses import replace

from router.decide.state import State
from router.model import Copy, Facts, Message, Method, ThreadEmail
from router.parse.subject import MESSAGES, is_forward, may_forward

NEW_ON_THREAD = "new-on-thread"


def correlate(state: State, facts: Facts) -> State:
    """Link the message to the email it answers. A forward is no answer: its emails are only suggested."""
    message = state.copy.message
    if state.correlated is not None:
        return state  # by `reported`
    if _is_forward(state.copy):
        return _suggest(state, facts)
    for method, email in _named_by_ids(state.copy, facts):
        state = state.answering(email, method, f"answers a CRM email, by {method}")
        if message.sender not in email.participants and not state.copy.sent:
            state = state.noting("the sender is new on the thread", flags=(NEW_ON_THREAD,))
        return state
    for email in _claimed(state, facts):
        return state.answering(email, "private-header", "answers a CRM email, by private-header")
    return _by_token(replace(state, waits_for=tuple(_ids(state.copy))), facts)


def _is_forward(copy: Copy) -> bool:
    """Whether the subject says that it is a forward, or may say so and the text or an attachment does."""
    subject = copy.message.subject
    if is_forward(subject) or not may_forward(subject):
        return is_forward(subject)
    return any(mark.kind == "forward" for mark in copy.text_marks) or any(
        one.media_type in MESSAGES for one in copy.attachments
    )


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
    """Yield the CRM emails that our private header names and that the sender was on."""
    for message_id in state.copy.message.claims:
        email = facts.emails.of_message_id(message_id)
        if email and state.copy.message.sender in email.participants:
            yield email


def _named_by_tokens(message: Message, facts: Facts) -> list[ThreadEmail]:
    emails = {email.id: email for token in message.tokens if (email := facts.emails.of_token(token))}
    return sorted(emails.values(), key=lambda email: email.created_at, reverse=True)


def _by_token(state: State, facts: Facts) -> State:
    message = state.copy.message
    named = _named_by_tokens(message, facts)
    if not named:
        return state
    mine = [email for email in named if state.copy.sent or message.sender in email.participants]
    if not mine:
        return replace(state.noting("has the token of a CRM email that the sender was never on"), stranger=True)
    state = state.answering(mine[0], "token", "answers a CRM email, by token")
    others = (f"another candidate by token: email {email.id}" for email in named if email is not mine[0])
    return state.noting(*others)


def _suggest(state: State, facts: Facts) -> State:
    emails = [email for _, email in _named_by_ids(state.copy, facts)]
    emails += _named_by_tokens(state.copy.message, facts)
    ids = dict.fromkeys(email.id for email in emails)
    return state.noting(*(f"a forward is not an answer; suggested: email {id_}" for id_ in list(ids)[:5]))
