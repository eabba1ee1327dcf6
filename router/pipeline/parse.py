"""Bytes to a `Message`. Never raises: each header and part is guarded on its own, and `defects` says what failed."""

import binascii
import mimetypes
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from router.model import Attachment, Mention, Message, Role
from router.pipeline.addresses import read_addresses
from router.pipeline.headers import (
    Fields,
    decode_base64,
    decode_words,
    raw_text,
    read_date,
    read_ids,
    read_message_id,
    read_parameters,
    read_text,
    unfold,
)
from router.pipeline.structure import Part, leaves, read_part
from router.pipeline.text import clean, clean_line, decode
from router.thread_token import find_tokens

_ROLES: tuple[tuple[str, Role], ...] = (
    ("from", "from"),
    ("to", "to"),
    ("cc", "cc"),
    ("bcc", "bcc"),
    ("reply-to", "reply_to"),
)
_FOLDS = re.compile(r"\r?\n[ \t]+")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069]')
_EXTENSIONS = mimetypes.MimeTypes(filenames=()).guess_extension
_LONE_CR = re.compile(rb"\r(?!\n)")
_SPACE = re.compile(r"\s")
_LONGEST_NAME = 150
_MOST_NAME_BYTES = 240  # file systems count bytes: 255 at most
_LONGEST_LINE = 1_000
_PRIVATE = "x-crm-email-router"  # the beginning of the headers that only we write

_T = TypeVar("_T")


def parse(raw: bytes) -> Message:
    """Read a message as a person would, from any bytes at all. Ids come without angle brackets, lines end with LF."""
    if b"\n" not in raw[:_LONGEST_LINE] and b"\r" in raw[:_LONGEST_LINE]:
        raw = _LONE_CR.sub(b"\n", raw)  # an old Macintosh's line ends
    reader = _Reader()
    root = reader.guard("the message", lambda: read_part(raw), Part({}, b"", "text/plain", {}))
    reader.guard("the parts", lambda: reader.read_parts(root), None)
    claims = [raw for name in [*root.fields] if name.startswith(_PRIVATE) for raw in root.fields.pop(name)]
    return reader.message(root.fields, claims)


class _Reader:
    """Gathers what can be read of one message, and what cannot."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.html: str | None = None
        self.attachments: list[Attachment] = []
        self.defects: list[str] = []

    def guard(self, what: str, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except Exception as error:  # noqa: BLE001  # whatever a sender can write must not stop the mailbox
            self.defects.append(f"{what} could not be read ({type(error).__name__})")
            return otherwise

    # --- Headers ---

    def message(self, fields: Fields, claims: Sequence[bytes]) -> Message:
        nothing: tuple[str, tuple[str, ...]] = ("", ())
        subject, tokens = self.header(fields, "subject", _subject, nothing)
        return Message(
            message_id=self.header(fields, "message-id", read_message_id, None),
            in_reply_to=self.header(fields, "in-reply-to", read_ids, ()),
            references=self.header(fields, "references", read_ids, ()),
            subject=subject,
            tokens=tokens,
            date=self.header(fields, "date", self.date, None),
            mentions=self.mentions(fields),
            text=self.text,
            html=self.html,
            attachments=tuple(self.attachments),
            headers=tuple((name, value) for name, values in fields.items() for value in values),
            claims=self.guard("our private headers", lambda: tuple(id_ for raw in claims for id_ in read_ids(raw)), ()),
            defects=tuple(dict.fromkeys(self.defects)),
        )

    def header(self, fields: Fields, name: str, read: Callable[[bytes], _T], otherwise: _T) -> _T:
        values = fields.get(name)
        return self.guard(f"the header {name}", lambda: read(values[0]), otherwise) if values else otherwise

    def date(self, raw: bytes) -> datetime | None:
        date = read_date(raw)
        if date is None:
            self.defects.append("the date could not be read")
        return date

    def mentions(self, fields: Fields) -> tuple[Mention, ...]:
        mentions: list[Mention] = []
        for name, role in _ROLES:
            entries = [entry for raw in fields.get(name, ())[:100] for entry in self.addresses(name, raw)]
            if role == "from" and len(entries) > 1 and "sender" in fields:
                sender = self.addresses("sender", fields["sender"][0])[:1]
                entries = list({address: (title, address) for title, address in (*sender, *entries)}.values())
            mentions += (Mention(role, position, address, title) for position, (title, address) in enumerate(entries))
        return tuple(mentions)

    def addresses(self, name: str, raw: bytes) -> list[tuple[str, str]]:
        nothing: tuple[list[tuple[str, str]], list[str]] = ([], [])
        found, defects = self.guard(f"the header {name}", lambda: read_addresses(raw), nothing)
        self.defects += (f"the header {name}: {defect}" for defect in defects)
        return found

    # --- Bodies and attachments ---

    def read_parts(self, root: Part) -> None:
        for number, part in enumerate(leaves(root), 1):
            self.defects += part.defects
            self.guard(f"part {number}", lambda part=part, number=number: self.read_leaf(part, number), None)  # type: ignore[misc]  # a lambda's defaults cannot be annotated

    def read_leaf(self, part: Part, number: int) -> None:
        disposition, parameters = (
            read_parameters(part.fields["content-disposition"][0]) if "content-disposition" in part.fields else ("", {})
        )
        name = parameters.get("filename") or part.parameters.get("name")
        content = self.decoded(part, number)
        is_body = disposition != "attachment" and not name
        if is_body and part.media_type == "text/plain" and self.text is None:
            self.text = self.body(part, content, number)
        elif is_body and part.media_type == "text/html" and self.html is None:
            self.html = self.body(part, content, number)
        else:
            self.attachments.append(_attachment(part, content, name, number, inline=disposition == "inline"))

    def decoded(self, part: Part, number: int) -> bytes:
        encoding = (
            raw_text(part.fields["content-transfer-encoding"][0]).lower()
            if "content-transfer-encoding" in part.fields
            else ""
        )
        encoding = encoding.partition(";")[0].partition("(")[0].strip()
        if encoding == "base64":
            content, whole = decode_base64(part.body)
            if not whole:
                self.defects.append(f"part {number} is broken base64: what could be decoded of it was kept")
            return content
        if encoding == "quoted-printable":
            return binascii.a2b_qp(part.body)
        if encoding not in {"", "7bit", "8bit", "binary"}:
            self.defects.append(f"part {number} has an unknown transfer encoding: it was kept as it came")
        return part.body

    def body(self, part: Part, content: bytes, number: int) -> str:
        text, defect = decode(content, part.parameters.get("charset") or None)
        if defect:
            self.defects.append(f"part {number}: {defect}")
        return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _subject(raw: bytes) -> tuple[str, tuple[str, ...]]:
    subject = read_text(raw)
    joined = decode_words(unfold(_FOLDS.sub("", raw_text(raw))))  # a fold may have fallen inside a token
    return subject, tuple(dict.fromkeys((*find_tokens(subject), *find_tokens(joined))))


def _attachment(part: Part, content: bytes, name: str | None, number: int, *, inline: bool) -> Attachment:
    extension = _EXTENSIONS(part.media_type) or ""
    original = clean(name) if name else None
    filename = safe_filename(name or "") or f"part-{number}{extension}"
    content_id = read_message_id(part.fields["content-id"][0]) if "content-id" in part.fields else None
    return Attachment(
        filename=filename,
        media_type=part.media_type or "application/octet-stream",
        content=content,
        content_id=content_id,
        inline=inline,
        original_filename=original if original != filename else None,
    )


def safe_filename(name: str) -> str:
    """Make a name that is safe to write to disk: no folder, no control characters, at most 150 characters; or empty."""
    name = clean_line(name).replace("\\", "/").rpartition("/")[2]
    name = _SPACE.sub(" ", _UNSAFE.sub("", name)).strip(" .")
    if len(name) <= _LONGEST_NAME and len(name.encode()) <= _MOST_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    ending = dot + extension if stem and len(extension) <= 10 else ""
    stem = name.removesuffix(ending)[: _LONGEST_NAME - len(ending)]
    return stem.encode()[: _MOST_NAME_BYTES - len(ending.encode())].decode(errors="ignore").rstrip(" .") + ending
