"""Whether a mail system sent it, or a person who only writes about mail, or passes on what a mail system sent."""

import re

from router.classify.dialects import SHARED, SYSTEMS
from router.classify.headers import Headers
from router.model import Message
from router.parse.subject import is_answer, is_forward

_COMMENT = re.compile(r"\([^()]*\)")
_OTHERS_SUBJECT = ("feedback-report", "disposition-notification")  # RFC 5965 §A, RFC 8098 §3.1
_HEADERS = ("x-amz-sns-message-id", "x-mlserver")  # Amazon SNS, fml


def submitted_as(headers: Headers) -> str:
    """How it was submitted, in lower case, such as auto-replied (RFC 3834 §5); empty for what a person sent."""
    value = _COMMENT.sub(" ", headers.first("auto-submitted")).partition(";")[0].strip().lower()
    return "" if value == "no" else value


def has_empty_return_path(headers: Headers) -> bool:
    """Whether nothing may answer it (RFC 3834 §3.3): nothing that a person sends has an empty return path."""
    return "<>" in headers.all("return-path")


def is_mail_system(message: Message, headers: Headers) -> bool:
    """Whether the sender's address is one that only mail systems write from, or that they do from here."""
    mailbox = _mailbox(message.sender)
    return mailbox in SYSTEMS or (mailbox in SHARED and has_empty_return_path(headers))


def may_report(message: Message, headers: Headers) -> bool:
    """Whether the message as a whole can be a report, whatever its parts are.

    A forward or an answer is a person's, even where it is a multipart/report, unless only a mail system can have sent
    it. Complaints and read receipts are exempt: many have the subject of the mail that they are about.
    """
    media_type, parameters = headers.parameters("content-type")
    if media_type == "multipart/report" and parameters.get("report-type", "").lower() in _OTHERS_SUBJECT:
        return True
    if _sent_by_system(message, headers):
        return True
    if is_forward(message.subject) or is_answer(message.subject):
        return False
    return media_type == "multipart/report" or _sent_by_machine(message, headers)


def _sent_by_system(message: Message, headers: Headers) -> bool:
    return (
        message.sender is None
        or is_mail_system(message, headers)
        or has_empty_return_path(headers)
        or submitted_as(headers) != ""
        or "x-failed-recipients" in headers
    )


def _sent_by_machine(message: Message, headers: Headers) -> bool:
    return _mailbox(message.sender) in SHARED or any(name in headers for name in _HEADERS)


def _mailbox(sender: str | None) -> str:
    return (sender or "").partition("@")[0].partition("+")[0].lower()
