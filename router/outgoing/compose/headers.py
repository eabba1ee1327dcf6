"""The header block of an outgoing email, but for its MIME lines (RFC 5322, 2369, 3834, 8058)."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import format_datetime
from typing import Final

from router.errors import ContentRefused
from router.model import Mention, Outgoing
from router.model.mail_address import smtp_address
from router.model.token import subject_with_token
from router.outgoing.compose.words import folded, one_line, phrase, refuse_controls, words

PRIVATE_HEADER = "X-CRM-Email-Router"
"""Carries our Message-ID once more: some relays rewrite the real one."""

ID = re.compile(r"[!-;=?-~]{1,900}")
"""What a Message-ID, or a Content-ID, may be between its angle brackets."""

_TOKEN = re.compile(r"[A-Za-z0-9-]{1,64}")
_NAME = re.compile(r"[!-9;-~]{1,70}")
_URL = re.compile(r"https://[!-;=?-~]{1,900}")
_MOST_REFERENCES: Final = 20
_MOST_HEADERS: Final = 50
_LONGEST_VALUE: Final = 900

_THE_CRMS = re.compile(r"(?:x|list)-.+", re.IGNORECASE)
_THE_CRMS_TOO: Final = frozenset(
    {
        "archived-at",
        "comments",
        "disposition-notification-to",
        "expires",
        "feedback-id",
        "importance",
        "keywords",
        "organization",
        "priority",
        "sensitivity",
        "thread-index",
        "thread-topic",
    }
)
_OURS: Final = frozenset({"list-unsubscribe", "list-unsubscribe-post"})


def headers(email: Outgoing) -> Iterator[str]:
    """Write each header, folded. Raises ContentRefused, in words, for what the CRM set and no header can hold."""
    if not ID.fullmatch(email.message_id):
        raise ContentRefused("its Message-ID is not 1 to 900 printable ASCII characters without spaces and brackets")
    if not _TOKEN.fullmatch(email.token):
        raise ContentRefused("its token is not 1 to 64 letters and digits")
    yield from _addresses(email)
    yield folded("Subject", words(subject_with_token(one_line(email.subject), email.token, email.token_prefix)))
    yield "Date: " + format_datetime(email.date.astimezone(UTC))
    yield f"Message-ID: <{email.message_id}>"
    if email.in_reply_to and ID.fullmatch(email.in_reply_to):
        yield f"In-Reply-To: <{email.in_reply_to}>"
    if references := _references(email):
        yield folded("References", references)
    yield f"{PRIVATE_HEADER}: <{email.message_id}>"
    if email.automatic:
        # What answers an email directly must not say auto-generated (RFC 3834 §5).
        yield f"Auto-Submitted: {'auto-replied' if email.in_reply_to else 'auto-generated'}"
    if email.lane == "bulk":
        # No standard header, but the one that automatic replies have always stayed away from (RFC 3834 §2).
        yield "Precedence: bulk"
    if email.unsubscribe_url:
        yield from _unsubscribe(email.unsubscribe_url)
    if email.headers:
        yield from _own(email.headers)


def _addresses(email: Outgoing) -> Iterator[str]:
    by_role: dict[str, list[Mention]] = {}
    for mention in email.mentions:
        by_role.setdefault(mention.role, []).append(mention)
    mailbox = smtp_address(email.mailbox)
    if any(mention.address != email.mailbox for mention in by_role.get("from", ())):
        raise ContentRefused("it is from another mailbox than its owner has now")
    sender = next((mention.name for mention in by_role.get("from", ())), "")
    yield folded("From", _list([(sender, mailbox)]))
    to, cc = _recipients(by_role.get("to", ())), _recipients(by_role.get("cc", ()))
    if to or not cc:
        yield folded("To", to or ["undisclosed-recipients:;"])
    if cc:
        yield folded("Cc", cc)
    if reply_to := [(mention.name, smtp_address(mention.address)) for mention in by_role.get("reply_to", ())]:
        yield folded("Reply-To", _list(reply_to))


def _references(email: Outgoing) -> list[str]:
    ids = dict.fromkeys((*email.thread_ids, *([email.in_reply_to] if email.in_reply_to else [])))
    if email.in_reply_to:
        ids[email.in_reply_to] = ids.pop(email.in_reply_to)  # the email that is answered comes last (RFC 5322 §3.6.4)
    written = [f"<{id_}>" for id_ in ids if ID.fullmatch(id_)]
    return written if len(written) <= _MOST_REFERENCES else [written[0], *written[1 - _MOST_REFERENCES :]]


def _recipients(mentions: Iterable[Mention]) -> list[str]:
    """Write recipients but those whose address is none: they get no mail, and are told of as refused."""
    valid = []
    for mention in mentions:
        try:
            valid.append((mention.name, smtp_address(mention.address)))
        except ContentRefused:
            continue
    return _list(valid)


def _list(named: Iterable[tuple[str, str]]) -> list[str]:
    """Write names and addresses as words, each address with its comma but the last."""
    written: list[str] = []
    for name, address in named:
        if written:
            written[-1] += ","
        written += phrase(name)
        written.append(f"<{address}>" if one_line(name) else address)
    return written


def _unsubscribe(url: str) -> Iterator[str]:
    if not _URL.fullmatch(url):
        raise ContentRefused("its unsubscribe_url is not https:// and at most 900 printable ASCII characters")
    yield f"List-Unsubscribe: <{url}>"
    yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click"


def _own(own: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Write the CRM's own headers: checked here too, since one that is none can be any other (RFC 5322 §2.2)."""
    if len(own) > _MOST_HEADERS:
        raise ContentRefused(f"its headers are more than {_MOST_HEADERS}")
    seen: set[str] = set()
    for name, value in own:
        lower_name = name.lower()
        if not _NAME.fullmatch(name):
            raise ContentRefused(f"{name[:100]!a} is no name of a header")
        if (lower_name not in _THE_CRMS_TOO and not _THE_CRMS.fullmatch(name)) or _is_ours(lower_name):
            raise ContentRefused(f"the header {name} is not the CRM's to set")
        if lower_name in seen:
            raise ContentRefused(f"the header {name} is there twice")
        seen.add(lower_name)
        if len(refuse_controls(value, f"header {name}").encode()) > _LONGEST_VALUE or not value.strip():
            raise ContentRefused(f"the value of the header {name} is empty, or longer than {_LONGEST_VALUE} bytes")
        yield _fitting(name, words(value.strip()))


def _is_ours(lower_name: str) -> bool:
    return lower_name in _OURS or lower_name.startswith(PRIVATE_HEADER.lower())


def _fitting(name: str, pieces: list[str]) -> str:
    """Fold a header whose name is long: its first word begins a line of its own."""
    if len(name) + 2 + len(pieces[0]) > 76:
        return f"{name}:\r\n " + folded("", pieces)[2:]
    return folded(name, pieces)
