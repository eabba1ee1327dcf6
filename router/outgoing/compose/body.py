"""The body of an outgoing email as MIME parts: alternative within mixed, related around the HTML (RFC 2046, 2387)."""

import binascii
import re
from typing import Final, NamedTuple

import pybase64

from router.html.text import html_to_text
from router.model import Attachment, Outgoing
from router.model.mail_address import message_id_domain
from router.model.outgoing import Stored
from router.outgoing.compose.headers import ID
from router.outgoing.compose.seven_bit import SevenBit
from router.outgoing.compose.words import filename_parameters, refuse_controls

LINE_BYTES: Final = 57
"""Bytes that one line of base64 holds: 76 characters."""

_SURROGATES = re.compile("[\ud800-\udfff]")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_LONGEST_LINE: Final = 998
_BOUNDARY: Final = "=_"  # neither base64 nor quoted-printable can write it
_ASCII: Final = bytes(range(128))


class Hole(NamedTuple):
    """Where the content of an attachment is to stand that is not read yet: in base64, or as it is."""

    attachment: Stored
    as_it_is: bool


Piece = bytes | Hole

Part = tuple[list[str], list[Piece]]
"""The header lines of a MIME part and its encoded body; the line break after it is the boundary's."""


def mime(email: Outgoing) -> Part:
    """Write the parts of an email, as few as it needs. Raises ContentRefused, in words, for what the CRM set wrong."""
    boundary = boundary_of(email)
    related: list[Part] = []
    others: list[Part] = []
    for attachment in email.attachments:
        is_related = email.html is not None and attachment.inline and attachment.content_id is not None
        (related if is_related else others).append(_attachment_part(attachment, boundary))
    bodies = [_text_part("plain", _plain_text(email))]
    if email.html is not None:
        html = _text_part("html", email.html)
        if related:
            root = f"<html.{email.id.hex}@{message_id_domain(email.mailbox)}>"
            html[0].append(f"Content-ID: {root}")
            kind = f'related; type="text/html";\r\n start="{root}"'
            html = _multipart(kind, f"{boundary}_r", [html, *related])
        bodies.append(html)
    return _multipart("mixed", f"{boundary}_m", [_multipart("alternative", f"{boundary}_a", bodies), *others])


def boundary_of(email: Outgoing) -> str:
    """Return how the boundaries of an email's parts begin: the same at each attempt."""
    return _BOUNDARY + email.id.hex


def is_only_html(email: Outgoing) -> bool:
    """Whether a text has to be made of the HTML, for those who read none: that takes long."""
    return email.html is not None and not (email.text or "").strip()


def _plain_text(email: Outgoing) -> str:
    return html_to_text(email.html) if email.html is not None and is_only_html(email) else email.text or ""


def _multipart(kind: str, boundary: str, parts: list[Part]) -> Part:
    """Put parts together; one part alone needs nothing around it."""
    if len(parts) == 1:
        return parts[0]
    pieces: list[Piece] = []
    for lines, body in parts:
        head = "\r\n".join([f"\r\n--{boundary}" if pieces else f"--{boundary}", *lines, "", ""])
        pieces += [head.encode("utf-8"), *body]
    pieces.append(f"\r\n--{boundary}--".encode("ascii"))
    return [f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"'], pieces


def _text_part(kind: str, text: str) -> Part:
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    charset = "us-ascii"
    if not text.isascii():
        text, charset = _SURROGATES.sub("\ufffd", text), "utf-8"
    encoding, body = _encode_text(text.encode("utf-8"))
    return [f"Content-Type: text/{kind}; charset={charset}", f"Content-Transfer-Encoding: {encoding}"], [body]


def _encode_text(raw: bytes) -> tuple[str, bytes]:
    plain = raw.isascii() and _BOUNDARY.encode("ascii") not in raw
    if plain and max(map(len, raw.split(b"\n"))) <= _LONGEST_LINE:
        return "7bit", raw.replace(b"\n", b"\r\n")
    beyond_ascii = len(raw.translate(None, _ASCII))
    if beyond_ascii * 6 > len(raw):
        return "base64", base64_lines(raw.replace(b"\n", b"\r\n"))
    return "quoted-printable", binascii.b2a_qp(raw).replace(b"\n", b"\r\n")


def base64_lines(raw: bytes) -> bytes:
    """Write base64 in lines of 76 characters, without a line break at the end."""
    return pybase64.encodebytes(raw)[:-1].replace(b"\n", b"\r\n")


def base64_size(size: int) -> int:
    """Tell how many bytes `base64_lines` makes of so many."""
    return (size + 2) // 3 * 4 + 2 * (max(size - 1, 0) // LINE_BYTES)


def _attachment_part(attachment: Attachment | Stored, boundary: str) -> Part:
    media_type = refuse_controls(attachment.media_type, "media type of an attachment").lower()
    as_it_is = False
    if media_type == "message/rfc822":  # it may not be encoded (RFC 2046 §5.2.1)
        if isinstance(attachment, Stored):
            as_it_is = attachment.as_message
        else:
            as_it_is = SevenBit.of(attachment.content, boundary)
    if not _MEDIA_TYPE.fullmatch(media_type) or (media_type.startswith(("message/", "multipart/")) and not as_it_is):
        media_type = "application/octet-stream"
    name, filename = filename_parameters(attachment.filename)
    lines = [
        f"Content-Type: {media_type}{name}",
        f"Content-Transfer-Encoding: {'7bit' if as_it_is else 'base64'}",
        f"Content-Disposition: {'inline' if attachment.inline else 'attachment'}{filename}",
    ]
    if attachment.content_id and ID.fullmatch(refuse_controls(attachment.content_id, "Content-ID of an attachment")):
        lines.append(f"Content-ID: <{attachment.content_id}>")
    if isinstance(attachment, Stored):
        return lines, [Hole(attachment, as_it_is)]
    return lines, [attachment.content if as_it_is else base64_lines(attachment.content)]
