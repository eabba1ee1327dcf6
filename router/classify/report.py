"""What a mail system reports on mail sent before: bounces, delays, deliveries and complaints.

The standard forms come first (`status`), then JSON (`notification`), then a mail system's own words (`notice`). Which
mail it is about, `original` finds.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from router.classify.codes import choose_code, find_code, is_vague
from router.classify.complaint import read_complaint, read_own_form
from router.classify.dialects import FAILED, FAILED_SUBJECT, NO_REPORT
from router.classify.headers import Headers
from router.classify.notice import read_lone, read_nameless, read_notice, split_notice
from router.classify.notification import read_notification
from router.classify.original import (
    ids_of_part,
    ids_of_text,
    is_original,
    recipients_of_part,
    subject_of_part,
    tokens_of_text,
)
from router.classify.rejection import read_rejection
from router.classify.status import read_envelope_id, read_status
from router.classify.system import is_mail_system, is_surely_system, may_report
from router.model import Message, RecipientReport, Report, ReportKind, normalize
from router.parse.addresses import read_addresses
from router.parse.charset import decode
from router.parse.message import parse

_STATUS_PARTS = ("message/delivery-status", "message/global-delivery-status")
_OTHER_REPORTS = ("disposition-notification", "feedback-report")  # read receipts; complaints of nothing
_TAG = re.compile(r"<(?:style|title)\b[^<>]*>[^<]*|<[^<>]*>", re.IGNORECASE)
_WORST: tuple[ReportKind, ...] = ("complaint", "bounce", "delay", "delivery")
_MOST_IDS = 32

_Recipients = tuple[RecipientReport, ...]


def find_report(message: Message, headers: Headers) -> Report | None:
    """Read a report; None if the message is none."""
    if complained := read_own_form(message):
        return _about(complained, message)
    if not may_report(message, headers):
        return None
    if report := _standard(message, headers):
        return report
    return _in_words(message, headers) if may_be_notice(message, headers) else None


def _standard(message: Message, headers: Headers) -> Report | None:
    complained = read_complaint(message)
    if complained:
        return _about(complained, message)
    if "x-amz-sns-message-id" in headers:
        recipients, ids = read_notification(message.text or "")
        if recipients:
            return _about(recipients, message, ids)
    recipients = tuple(one for part in _parts(message, _STATUS_PARTS) for one in read_status(part))
    if recipients := recipients or read_rejection(message):
        return _about(_with_words(_named(recipients, message), message), message)
    return None


def _named(recipients: _Recipients, message: Message) -> _Recipients:
    """Name the recipient that the standard part does not: a program that mail is piped to is no address."""
    nameless = [one for one in recipients if not one.address]
    if len(nameless) != 1:
        return recipients
    text = _text(message)
    named = {address for one in recipients for address in (one.address, one.final)}
    told = read_notice(text, message.subject, ours=_senders(message)) or _guessed(message, text)
    others = [one.address for one in told if one.address and one.address not in named]
    address = others[0] if len(set(others)) == 1 else ""
    return tuple(one if one.address else replace(one, address=address) for one in recipients)


def may_be_notice(message: Message, headers: Headers) -> bool:
    """Whether a mail system may tell in it, in words of its own, what became of mail."""
    if NO_REPORT.match(message.subject):
        return False
    media_type, parameters = headers.parameters("content-type")
    if media_type == "multipart/report":
        return parameters.get("report-type", "").lower() not in _OTHER_REPORTS
    return (
        "x-failed-recipients" in headers
        or is_mail_system(message, headers)
        or FAILED_SUBJECT.match(message.subject) is not None
    )


def tells_of_failure(message: Message, headers: Headers) -> bool:
    """Whether a mail system tells that mail did not arrive, whether it says whose or not."""
    if not (may_report(message, headers) and may_be_notice(message, headers)):
        return False
    text = _text(message)
    return _says_failed(message, text) and _is_sure(message, headers, text)


def _is_sure(message: Message, headers: Headers, text: str) -> bool:
    """Whether it is about mail, and not about a parcel that a shop could not deliver."""
    notice, copy = split_notice(text)
    return (
        is_surely_system(message, headers)
        or bool(copy)
        or "." in find_code(notice)
        or any(is_original(part) for part in message.attachments)
    )


def _says_failed(message: Message, text: str) -> bool:
    notice = split_notice(text)[0]
    return FAILED.search(message.subject) is not None or FAILED.search(notice) is not None or "." in find_code(notice)


def _in_words(message: Message, headers: Headers) -> Report | None:
    text = _text(message)
    if not _says_failed(message, text):
        return None
    if recipients := _from_words(message, headers, text):
        return _about(recipients, message)
    for attachment in filter(is_original, message.attachments):  # a report that was passed on as another one
        inner = parse(attachment.content)
        if report := _standard(inner, Headers(inner.headers)):
            return report
    if recipients := _guessed(message, text):
        return _about(recipients, message)
    return _vaguely(message, text) if _is_sure(message, headers, text) else None


def _vaguely(message: Message, text: str) -> Report | None:
    if recipients := read_lone(text, message.subject, _senders(message)):
        return _about(recipients, message)
    # Nobody is named, or a row of asterisks: of an email to one recipient it is known all the same.
    report = _about((read_nameless(text, message.subject),), message)
    return report if report.message_ids or report.tokens or report.return_ids else None


def _parts(message: Message, media_types: Iterable[str]) -> list[bytes]:
    return [attachment.content for attachment in message.attachments if attachment.media_type in media_types]


def _text(message: Message) -> str:
    """Join the parts of the report that a person would read as text."""
    empty = not (message.text or "").strip() and not message.html
    texts = [message.text or (_TAG.sub(" ", message.html[:200_000]) if message.html else "")]
    texts += (
        decode(attachment.content[:100_000])[0].replace("\r\n", "\n")
        for attachment in message.attachments
        if attachment.media_type.startswith("text/plain")
        # The last resort: the text of the message itself.
        or (empty and attachment.media_type == "application/octet-stream" and attachment.content.isascii())
    )
    return "\n".join(texts)


def _with_words(recipients: _Recipients, message: Message) -> _Recipients:
    """Take the code from the report's text where its standard part has none, or only a vague one."""
    if all(one.code and not is_vague(one.code) for one in recipients):
        return recipients
    told = {one.address: one for one in read_notice(_text(message), message.subject)}
    return tuple(
        replace(one, code=choose_code(one.code, said.code), text=one.text if _is_words(one.text) else said.text)
        if (said := told.get(one.final or one.address)) and (not one.code or is_vague(one.code))
        else one
        for one in recipients
    )


def _is_words(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _from_words(message: Message, headers: Headers, text: str) -> _Recipients:
    failed = [
        normalize(address)
        for value in headers.all("x-failed-recipients")
        for _, address in read_addresses(value.encode("utf-8", "replace"))[0]
    ]
    return read_notice(text, message.subject, tuple(dict.fromkeys(failed)), _senders(message))


def _senders(message: Message) -> frozenset[str]:
    """Those between whom the report goes: who sent the mail, and the mail system."""
    return frozenset(mention.address for mention in message.mentions if mention.role in ("from", "to", "cc"))


def _guessed(message: Message, text: str) -> _Recipients:
    """Where no recipient is named, it is the one that the mail in the report was sent to, if that is only one."""
    copies = [attachment.content for attachment in message.attachments if is_original(attachment)]
    copies += [split_notice(text)[1].partition("\n")[2].encode("utf-8", "replace")]
    for content in copies:
        addresses = dict.fromkeys(recipients_of_part(content))
        if len(addresses) == 1:
            told = read_notice("\n".join([*addresses, split_notice(text)[0]]), message.subject)
            return tuple(one for one in told if one.address in addresses)
    return ()


def _worst(recipients: _Recipients) -> ReportKind:
    kinds = {one.kind for one in recipients}
    return next(kind for kind in _WORST if kind in kinds)


def _about(recipients: _Recipients, message: Message, named: Iterable[str] = ()) -> Report:
    text = _text(message)
    originals = [attachment.content for attachment in message.attachments if is_original(attachment)]
    ids = [*named, *(id_ for content in originals for id_ in ids_of_part(content))]
    ids += (id_ for id_ in ids_of_text(text) if id_ != message.message_id)
    ids += message.thread_ids
    tokens = [token for content in originals for token in tokens_of_text(subject_of_part(content))]
    tokens += (*message.tokens, *tokens_of_text(text))
    return Report(
        kind=_worst(recipients),
        recipients=recipients,
        message_ids=tuple(dict.fromkeys(ids))[:_MOST_IDS],
        tokens=tuple(dict.fromkeys(tokens))[:_MOST_IDS],
        return_ids=message.return_ids,
        envelope_ids=tuple(filter(None, map(read_envelope_id, _parts(message, _STATUS_PARTS))))[:_MOST_IDS],
    )
