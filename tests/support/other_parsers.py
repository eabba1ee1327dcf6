"""What two parsers that are not ours read in a message that we composed: the stdlib's, and mailparse (in Rust)."""

import email
import email.policy
import re
from collections.abc import Iterable, Iterator
from email.message import EmailMessage

import fast_mail_parser

from router.html.text import html_to_text
from router.model import Attachment, Outgoing
from router.model.mail_address import smtp_address
from router.model.token import subject_with_token

_ENCODED_WORD = re.compile(rb"=\?[^?\s]+\?[bqBQ]\?")


def check(raw: bytes, composed: Outgoing) -> None:
    """Check that both read in it what was put in: subject, names, addresses, bodies, attachments."""
    _check_lines(raw)
    _check_stdlib(raw, composed)
    _check_mailparse(raw, composed)


def _check_lines(raw: bytes) -> None:
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", raw)
    assert raw.endswith(b"\r\n")
    head, _, _ = raw.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        assert line.strip()
        assert len(line) <= 76 or not _ENCODED_WORD.search(line), line
        if len(line) > 78:  # nothing to fold in it
            assert len(line.strip().split(b" ")) <= 2, line
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def _check_stdlib(raw: bytes, composed: Outgoing) -> None:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    assert shown(message["Subject"]) == shown(
        subject_with_token(composed.subject, composed.token, composed.token_prefix)
    )
    assert message["Message-ID"].strip("<>") == composed.message_id
    for role, name in (("to", "To"), ("cc", "Cc"), ("reply_to", "Reply-To")):
        mentions = [mention for mention in composed.mentions if mention.role == role]
        if mentions:
            written = [(one.display_name, one.addr_spec) for one in message[name].addresses]
            # It reads a space between any two encoded words of a name.
            assert ["".join(display.split()) for display, _ in written] == [
                "".join(mention.name.split()) for mention in mentions
            ]
            assert [address for _, address in written] == [smtp_address(mention.address) for mention in mentions]
    leaves = list(_leaves(message))
    parts = [part for part in leaves if part.get_content_disposition() is None]
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"][: len(parts)]
    _check_bodies(composed, [part.get_content() for part in parts])
    _check_attachments(
        composed,
        [
            (
                part.get_filename(),
                part.get_payload(decode=True),
                (part["Content-ID"] or "").strip("<>"),
                part.get_content_disposition(),
            )
            for part in leaves
            if part.get_content_disposition() is not None and part.get_content_type() != "message/rfc822"
        ],
    )


def _check_mailparse(raw: bytes, composed: Outgoing) -> None:
    message = fast_mail_parser.parse_email(raw)
    assert message.warnings == []
    assert shown(message.subject) == shown(subject_with_token(composed.subject, composed.token, composed.token_prefix))
    for role, addresses in (("to", message.to), ("cc", message.cc), ("reply_to", message.reply_to)):
        mentions = [mention for mention in composed.mentions if mention.role == role]
        if mentions:
            assert [one.address for one in addresses] == [smtp_address(mention.address) for mention in mentions]
            assert [shown(one.display_name or "") for one in addresses] == [shown(mention.name) for mention in mentions]
    leaves = list(_mailparse_leaves(fast_mail_parser.parse_email_tree(raw)))
    bodies = [part for part in leaves if part.disposition is None]
    assert [part.content_type for part in bodies] == ["text/plain", "text/html"][: len(bodies)]
    _check_bodies(composed, [(part.content or b"").decode() for part in bodies])
    _check_attachments(
        composed,
        [
            (part.filename, part.content, part.content_id or "", (part.disposition or "").partition(";")[0])
            for part in leaves
            if part.disposition is not None and not part.is_message
        ],
    )


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    if part.get_content_maintype() != "multipart":
        yield part
        return
    for child in part.iter_parts():
        assert isinstance(child, EmailMessage)
        yield from _leaves(child)


def _mailparse_leaves(part: fast_mail_parser.PyMimePart) -> Iterator[fast_mail_parser.PyMimePart]:
    if not part.content_type.startswith("multipart/"):
        yield part
        return
    for child in part.children:
        yield from _mailparse_leaves(child)


def _check_bodies(composed: Outgoing, read: list[str]) -> None:
    text, html = composed.text or "", composed.html
    if html is not None and not text.strip():
        text = html_to_text(html)
    assert [_lines(one) for one in read] == [_lines(one) for one in (text, html) if one is not None]


def _check_attachments(composed: Outgoing, read: Iterable[tuple[str | None, object, str, str | None]]) -> None:
    put_in = [
        (shown(one.filename), one.content, one.content_id or "", "inline" if one.inline else "attachment")
        for one in sorted(composed.attachments, key=lambda one: not _is_related(composed, one))
        if isinstance(one, Attachment) and one.media_type != "message/rfc822"
    ]
    messages = {shown(one.filename) for one in composed.attachments if one.media_type == "message/rfc822"}
    found = [(shown(name or ""), *others) for name, *others in read]
    assert [one for one in found if one[0] not in messages] == put_in


def _is_related(composed: Outgoing, attachment: object) -> bool:
    return (
        isinstance(attachment, Attachment)
        and composed.html is not None
        and attachment.inline
        and attachment.content_id is not None
    )


def shown(text: str) -> str:
    """Return a text as it looks in one line."""
    return " ".join(text.split())


def _lines(text: str) -> str:
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
