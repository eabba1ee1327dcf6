"""Complaints: the recipient of a mail says that it is spam, and the provider passes that on with the mail."""

import re

from router.classify.original import headers_of_part, is_original, recipients_of_part
from router.classify.status import read_feedback
from router.model import Message, RecipientReport, normalize
from router.parse.addresses import read_addresses
from router.parse.forwarded import is_forward
from router.parse.subject import is_answer

_FEEDBACK_PARTS = frozenset({"message/feedback-report"})
# Microsoft's (JMRP): no feedback report, but the mail, with a header that names who complains, below such a subject.
_COMPLAINER = "x-hmxmroriginalrecipient"
_SUBJECT = re.compile(r"complaint about message from\b", re.IGNORECASE)
_MOST = 100


def read_complaint(message: Message) -> tuple[RecipientReport, ...]:
    """Read a feedback report (RFC 5965): who complains, and of what; nothing where it is none."""
    for part in message.attachments:
        feedback = read_feedback(part.content) if part.media_type in _FEEDBACK_PARTS else None
        if feedback is None:
            continue
        kind, named = feedback
        return _of(named or _recipients_of_original(message), kind)
    return ()


def read_own_form(message: Message) -> tuple[RecipientReport, ...]:
    """Read a complaint in Microsoft's own form; nothing where it is none, or a person passes one on."""
    if is_forward(message) or is_answer(message.subject):
        return ()
    for part in filter(is_original, message.attachments):
        if written := headers_of_part(part.content).get(_COMPLAINER):
            named = (address for raw in written[:_MOST] for _, address in read_addresses(raw)[0])
            return _of(tuple(normalize(address) for address in named if "@" in address), "abuse")
        if _SUBJECT.match(message.subject):
            return _of(tuple(recipients_of_part(part.content)), "abuse")
    return ()


def _recipients_of_original(message: Message) -> tuple[str, ...]:
    original = next(filter(is_original, message.attachments), None)
    return tuple(recipients_of_part(original.content)) if original else ()


def _of(named: tuple[str, ...], kind: str) -> tuple[RecipientReport, ...]:
    return tuple(RecipientReport(address, "complaint", text=kind) for address in dict.fromkeys(named)) or (
        RecipientReport("", "complaint", text=kind),
    )
