"""An outgoing email to the bytes that a relay takes (RFC 5322, 2045 to 2047, 2231), with CRLF line ends. Pure.

Written by hand, since the stdlib's EmailMessage costs ten times as much. Nothing that a CRM user can type (a line break
in a subject, a name, an address, a file name) makes a header of its own, and no line is longer than 998 octets.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import format_datetime

from router.model import Attachment, Mention, Outgoing
from router.model.token import subject_with_token

PRIVATE_HEADER = "X-CRM-Email-Router"
"""Carries our Message-ID once more: some relays rewrite the real one."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOT_ATOM = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)
_ESCAPED = re.compile(r"\\(.)")
_NOT_DOMAIN = re.compile(r"[^A-Za-z0-9.:_\-\[\]]")
_ID = re.compile(r"[!-;=?-~]{1,900}")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_ATTRIBUTE = re.compile(rb"[A-Za-z0-9!#$&+.^_`{|}~-]")
_WORD_BYTES = 42  # an encoded word may have 75 characters, 63 of them beside our charset and encoding (RFC 2047 §2)
_MOST_REFERENCES = 20
_LINE = 76
_LONGEST_LINE = 998
_BOUNDARY = "=_"  # neither base64 nor quoted-printable can write it

Part = tuple[list[str], bytes]
"""The header lines of a MIME part and its encoded body; the line break after it is the boundary's."""


def compose(email: Outgoing) -> bytes:
    """Write the whole message, headers and body. Bcc is left out; `date` is cut to whole seconds, as headers have it.

    Raises ValueError for a Message-ID that cannot stand in a header: we make them ourselves.
    """
    if not _ID.fullmatch(email.message_id):
        raise ValueError("a Message-ID must be 1 to 900 printable ASCII characters without spaces and brackets")
    lines, body = _mime(email)
    head = "\r\n".join([*_headers(email), "MIME-Version: 1.0", *lines, "", ""])
    return head.encode("utf-8") + body + (b"" if body.endswith(b"\r\n") else b"\r\n")


def smtp_address(address: str) -> str:
    """Write an address as SMTP and headers take it: domain in punycode, local part quoted where it must be.

    Only a local part beyond ASCII stays so: then the relay must offer SMTPUTF8 (RFC 6531).
    """
    local, at, domain = _CONTROLS.sub("", _SURROGATES.sub("", address)).strip().rpartition("@")
    if not at:
        local, domain = domain, ""
    if len(local) > 1 and local.startswith('"') and local.endswith('"'):
        local = _ESCAPED.sub(r"\1", local[1:-1])
    if not _DOT_ATOM.fullmatch(local):
        local = _quoted(local)
    return local + at + _NOT_DOMAIN.sub("", ".".join(_ascii_label(label) for label in domain.split(".")))


def _ascii_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


# --- Headers ---------------------------------------------------------------------------------------------------------


def _headers(email: Outgoing) -> Iterator[str]:
    by_role: dict[str, list[Mention]] = {}
    for mention in email.mentions:
        by_role.setdefault(mention.role, []).append(mention)
    sender = next((mention.name for mention in by_role.get("from", ())), "")
    yield _folded("From", [_mailbox(sender, email.mailbox)])
    to, cc = _list(by_role.get("to", ())), _list(by_role.get("cc", ()))
    if to or not cc:
        yield _folded("To", to or ["undisclosed-recipients:;"])
    if cc:
        yield _folded("Cc", cc)
    if reply_to := _list(by_role.get("reply_to", ())):
        yield _folded("Reply-To", reply_to)
    yield _folded("Subject", _words(subject_with_token(_one_line(email.subject), email.token)))
    yield "Date: " + format_datetime(email.date.astimezone(UTC))
    yield f"Message-ID: <{email.message_id}>"
    if email.in_reply_to and _ID.fullmatch(email.in_reply_to):
        yield f"In-Reply-To: <{email.in_reply_to}>"
    if references := _references(email):
        yield _folded("References", references)
    yield f"{PRIVATE_HEADER}: <{email.message_id}>"


def _references(email: Outgoing) -> list[str]:
    ids = dict.fromkeys((*email.thread_ids, *([email.in_reply_to] if email.in_reply_to else [])))
    if email.in_reply_to:
        ids[email.in_reply_to] = ids.pop(email.in_reply_to)  # the email that is answered comes last (RFC 5322 §3.6.4)
    written = [f"<{id_}>" for id_ in ids if _ID.fullmatch(id_)]
    return written if len(written) <= _MOST_REFERENCES else [written[0], *written[1 - _MOST_REFERENCES :]]


def _list(mentions: Iterable[Mention]) -> list[str]:
    """Write addresses, each with its comma but the last."""
    written = [_mailbox(mention.name, mention.address) for mention in mentions if mention.address]
    return [entry + "," for entry in written[:-1]] + written[-1:]


def _mailbox(name: str, address: str) -> str:
    name = _one_line(name)
    if not name:
        return smtp_address(address)
    if _ATOMS.fullmatch(name) and "=?" not in name and len(name) < _LINE:
        phrase = name
    elif _PLAIN.fullmatch(name) and "=?" not in name and len(name) < _LINE:
        phrase = _quoted(name)
    else:
        phrase = "\r\n ".join(_encoded_words(name))
    return f"{phrase} <{smtp_address(address)}>"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _one_line(text: str) -> str:
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text)).strip()


def _words(text: str) -> list[str]:
    """Cut a text into pieces that may stand on lines of their own."""
    if not text:
        return []
    if _PLAIN.fullmatch(text) and "=?" not in text and max(map(len, text.split(" "))) < _LINE * 10:
        return text.split(" ")
    head, space, token = text.rpartition(" ")
    if space and head.strip() == head and token.startswith("CRM:") and token.isascii():
        return [*_encoded_words(head), token]  # the token stays readable, also where nobody decodes
    return list(_encoded_words(text))


def _encoded_words(text: str) -> Iterator[str]:
    """Write a text as encoded words, never split inside a character."""
    piece = b""
    for character in text:
        raw = character.encode("utf-8")
        if len(piece) + len(raw) > _WORD_BYTES:
            yield _encoded_word(piece)
            piece = b""
        piece += raw
    yield _encoded_word(piece)


def _encoded_word(piece: bytes) -> str:
    return f"=?utf-8?b?{binascii.b2a_base64(piece, newline=False).decode('ascii')}?="


def _folded(name: str, pieces: Iterable[str]) -> str:
    """Join pieces by spaces, and fold before one that would make the line longer than 76."""
    lines = [f"{name}:"]
    for number, piece in enumerate(pieces):
        if number and len(lines[-1]) + 1 + len(piece) > _LINE:
            lines.append("")
        lines[-1] += " " + piece
    return "\r\n".join(lines)


# --- Body ------------------------------------------------------------------------------------------------------------


def _mime(email: Outgoing) -> Part:
    boundary = _BOUNDARY + email.id.hex
    related: list[Part] = []
    others: list[Part] = []
    for attachment in email.attachments:
        is_related = email.html is not None and attachment.inline and attachment.content_id is not None
        (related if is_related else others).append(_attachment_part(attachment, boundary))
    bodies = []
    if email.text is not None or email.html is None:
        bodies.append(_text_part("plain", email.text or ""))
    if email.html is not None:
        bodies.append(_multipart("related", f"{boundary}_r", [_text_part("html", email.html), *related]))
    return _multipart("mixed", f"{boundary}_m", [_multipart("alternative", f"{boundary}_a", bodies), *others])


def _multipart(kind: str, boundary: str, parts: list[Part]) -> Part:
    """Put parts together; one part alone needs nothing around it."""
    if len(parts) == 1:
        return parts[0]
    pieces: list[bytes] = []
    for lines, body in parts:
        head = "\r\n".join([f"--{boundary}", *lines, "", ""])
        pieces += [b"\r\n" if pieces else b"", head.encode("utf-8"), body]
    pieces.append(f"\r\n--{boundary}--".encode("ascii"))
    return [f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"'], b"".join(pieces)


def _text_part(kind: str, text: str) -> Part:
    text = _SURROGATES.sub("\ufffd", text.replace("\0", ""))
    raw = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")
    charset = "us-ascii" if text.isascii() else "utf-8"
    encoding, body = _encode_text(raw)
    return [f"Content-Type: text/{kind}; charset={charset}", f"Content-Transfer-Encoding: {encoding}"], body


def _encode_text(raw: bytes) -> tuple[str, bytes]:
    plain = raw.isascii() and _BOUNDARY.encode("ascii") not in raw
    if plain and max(map(len, raw.split(b"\n"))) <= _LONGEST_LINE:
        return "7bit", raw.replace(b"\n", b"\r\n")
    beyond_ascii = len(raw.translate(None, bytes(range(128))))
    if beyond_ascii * 6 > len(raw):
        return "base64", _base64(raw.replace(b"\n", b"\r\n"))
    return "quoted-printable", binascii.b2a_qp(raw).replace(b"\n", b"\r\n")


def _base64(raw: bytes) -> bytes:
    letters = binascii.b2a_base64(raw, newline=False)
    return b"\r\n".join([letters[start : start + _LINE] for start in range(0, len(letters), _LINE)])


def _attachment_part(attachment: Attachment, boundary: str) -> Part:
    media_type = attachment.media_type.lower()
    content = attachment.content
    as_it_is = media_type == "message/rfc822" and _is_7bit(content, boundary)  # it may not be encoded (RFC 2046 §5.2.1)
    if not _MEDIA_TYPE.fullmatch(media_type) or (media_type.startswith(("message/", "multipart/")) and not as_it_is):
        media_type = "application/octet-stream"
    lines = [
        f"Content-Type: {media_type}",
        f"Content-Transfer-Encoding: {'7bit' if as_it_is else 'base64'}",
        "Content-Disposition: " + ("inline" if attachment.inline else "attachment") + _filename(attachment.filename),
    ]
    if attachment.content_id and _ID.fullmatch(attachment.content_id):
        lines.append(f"Content-ID: <{attachment.content_id}>")
    return lines, content if as_it_is else _base64(content)


def _is_7bit(content: bytes, boundary: str) -> bool:
    lines = content.split(b"\r\n")
    return (
        content.isascii()
        and boundary.encode("ascii") not in content
        and not any(len(line) > _LONGEST_LINE or b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    )


def _filename(name: str) -> str:
    """Write the file name's parameter, beyond ASCII or when long in pieces (RFC 2231)."""
    name = _one_line(name)
    if not name:
        return ""
    if _PLAIN.fullmatch(name) and len(name) < 60 and "=?" not in name:
        return f";\r\n filename={_quoted(name)}"
    pieces = [""]
    for byte in name.encode("utf-8"):
        letter = chr(byte) if _ATTRIBUTE.fullmatch(bytes([byte])) else f"%{byte:02X}"
        if len(pieces[-1]) + len(letter) > 55:
            pieces.append("")
        pieces[-1] += letter
    if len(pieces) == 1:
        return f";\r\n filename*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return "".join(f";\r\n filename*{number}*={piece}" for number, piece in enumerate(pieces))
