"""Bytes to a `Message`. Never raises: each header and part is guarded on its own, and `defects` says what failed."""

import mimetypes
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Literal, TypeVar
from uuid import UUID

from router.html.text import LONGEST as LONGEST_HTML
from router.html.text import html_to_text
from router.model import Attachment, Mention, Message, Role
from router.model.return_path import find_return_id, mailbox_of_return_path
from router.model.token import find_tokens, untag
from router.parse.addresses import MOST_ADDRESSES, read_addresses
from router.parse.bodies import (
    MOST_UUENCODED,
    SMIME,
    UNREAD,
    calendar_text,
    flag_of,
    protection,
    take_uuencoded,
    unflow,
)
from router.parse.body import LONGEST as LONGEST_BODY
from router.parse.body import Shown
from router.parse.charset import codec_of, decode, to_utf8
from router.parse.cms import is_signed_data, signed_content
from router.parse.headers import (
    Fields,
    decode_words,
    raw_text,
    read_date,
    read_ids,
    read_message_id,
    read_parameters,
    read_text,
    unfold,
)
from router.parse.structure import Part, leaves, read_part
from router.parse.subject import MESSAGES
from router.parse.text import clean, clean_line, safe_filename
from router.parse.thread_index import read_thread_index
from router.parse.transfer import UNNAMED, decode_body

_ROLES: tuple[tuple[str, Role], ...] = (
    ("from", "from"),
    ("to", "to"),
    ("cc", "cc"),
    ("bcc", "bcc"),
    ("reply-to", "reply_to"),
)
_RECIPIENTS = frozenset({"to", "cc", "bcc"})  # a tag in From or Reply-To is another installation's
_FOLDS = re.compile(r"\r?\n[ \t]+")
_EXTENSIONS = mimetypes.MimeTypes(filenames=()).guess_extension
_LONGEST_LINE = 1_000
_PRIVATE = "x-crm-email-router"  # the beginning of the headers that only we write
_LONGEST_VALUE = 200_000  # bytes of one header that are read; a thousand addresses fit in
_MOST_CALENDARS = 10
_LONGEST_CALENDAR = 100_000
_LONGEST_RAW = 10_000
_MOST_FIELDS = 100
_UNNAMED = re.compile(r"<[^<>]*>")
_MOST_CLAIMS = 8
_MOST_OPENED = 4
_MOST_TOKENS = 32
_DELIVERED = ("delivered-to", "x-original-to", "envelope-to")
_READ = frozenset(
    {"message-id", "in-reply-to", "references", "subject", "date", "sender", "thread-index"}
    | {name for name, _ in _ROLES}
)

_T = TypeVar("_T")


def parse(raw: bytes, recipients: Sequence[str] = ()) -> Message:
    """Read a message as a person would, from any bytes at all. Ids come without angle brackets, lines end with LF.

    `recipients` are those of the envelope, where it is known: one of them may carry our token.
    """
    if b"\n" not in raw[:_LONGEST_LINE] and b"\r" in raw[:_LONGEST_LINE]:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # an old Macintosh's line ends
    reader = _Reader()
    root = reader.guard("the message", lambda: read_part(raw), Part({}, "text/plain", {}, raw, 0, 0))
    reader.guard("the parts", lambda: reader.read_parts(root), None)
    reader.guard("the text", reader.make_text, None)
    claims = [raw for name in [*root.fields] if name.startswith(_PRIVATE) for raw in root.fields.pop(name)]
    reader.guard("the recipients", lambda: reader.read_tags(root.fields, recipients), None)
    return reader.message(root.fields, claims)


class _Reader:
    """Gathers what can be read of one message, and what cannot."""

    def __init__(self) -> None:
        self.shown = Shown()
        self.text: str | None = None
        self.html: str | None = None
        self.attachments: list[Attachment] = []
        self.defects: list[str] = []
        self.text_from: Literal["plain", "html", "calendar"] = "plain"
        self.flags: list[str] = []
        self.charset: str | None = None  # the first that a text names: headers without one are likely in it, too
        self.raw: dict[str, str] = {}
        self.tokens: list[str] = []
        self.return_ids: list[UUID] = []
        self.opened = 0  # signatures
        self.uuencoded = 0  # files

    def guard(self, what: str, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except Exception as error:  # noqa: BLE001  # whatever a sender can write must not stop the mailbox
            self.defects.append(f"{what} could not be read: the router failed at it ({type(error).__name__})")
            return otherwise

    # --- Headers ---

    def message(self, fields: Fields, claims: Sequence[bytes]) -> Message:
        headers = tuple((name, value) for name, values in fields.items() for value in values)
        fields = {
            name: [self.in_utf8(name, self.bounded(name, raw)) for raw in fields[name][:_MOST_FIELDS]]
            for name in _READ & fields.keys()
        }
        nothing: tuple[str, str, tuple[str, ...]] = ("", "", ())
        subject, joined, tokens = self.header(fields, "subject", _subject, nothing)
        mentions = self.mentions(fields)
        return Message(
            message_id=self.header(fields, "message-id", read_message_id, None),
            in_reply_to=self.header(fields, "in-reply-to", read_ids, ()),
            references=self.header(fields, "references", read_ids, ()),
            subject=subject,
            joined_subject=joined,
            thread_index=self.header(fields, "thread-index", read_thread_index, ""),
            tokens=tuple(dict.fromkeys((*tokens, *self.tokens)))[:_MOST_TOKENS],
            date=self.header(fields, "date", self.date, None),
            mentions=mentions,
            text=self.text,
            html=self.html,
            attachments=tuple(self.attachments),
            headers=headers,
            claims=self.guard("our private headers", lambda: _claims(claims), ()),
            defects=tuple(dict.fromkeys(self.defects)),
            text_from=self.text_from,
            flags=tuple(dict.fromkeys(self.flags)),
            raw_headers=tuple(self.raw.items()),
            return_ids=tuple(dict.fromkeys(self.return_ids))[:_MOST_TOKENS],
        )

    def header(self, fields: Fields, name: str, read: Callable[[bytes], _T], otherwise: _T) -> _T:
        values = fields.get(name)
        if not values:
            return otherwise
        found = self.guard(f"the header {name}", lambda: read(values[0]), otherwise)
        if found is None or "\ufffd" in str(found):
            self.keep_raw(name, values[0])
        return found

    def bounded(self, name: str, raw: bytes) -> bytes:
        if len(raw) <= _LONGEST_VALUE:
            return raw
        self.defects.append(f"the header {name} is longer than {_LONGEST_VALUE:,} bytes: not all of it was read")
        return raw[-_LONGEST_VALUE:] if name == "references" else raw[:_LONGEST_VALUE]  # the last ids are the nearest

    def in_utf8(self, name: str, raw: bytes) -> bytes:
        if raw.isascii():
            return raw
        read = self.guard(f"the charset of the header {name}", lambda: to_utf8(raw, self.charset), raw)
        if read is not raw:
            self.keep_raw(name, raw)
        return read

    def keep_raw(self, name: str, raw: bytes) -> None:
        written = raw[:_LONGEST_RAW].decode("ascii", "backslashreplace")
        self.raw.setdefault(name, clean(written.replace("\r\n", "\n")).strip())

    def date(self, raw: bytes) -> datetime | None:
        date = read_date(raw)
        if date is None:
            self.defects.append("the date could not be read")
        return date

    def mentions(self, fields: Fields) -> tuple[Mention, ...]:
        mentions: list[Mention] = []
        for name, role in _ROLES:
            entries = self.entries(name, fields.get(name, ()))
            if role == "from" and len(fields.get(name, ())) > 1:
                entries = _one_author(fields[name][0], entries)
            if role == "from" and len(entries) > 1 and "sender" in fields:
                sender = self.addresses("sender", fields["sender"][0])[:1]
                entries = list({address: (title, address) for title, address in (*sender, *entries)}.values())
            if role in _RECIPIENTS:
                entries = [(title, self.untagged(address)) for title, address in entries]
            mentions += (Mention(role, position, address, title) for position, (title, address) in enumerate(entries))
        return tuple(mentions)

    def entries(self, name: str, values: Sequence[bytes]) -> list[tuple[str, str]]:
        """Read the addresses of a header that may be there several times: all together, no more than of one."""
        entries: list[tuple[str, str]] = []
        for raw in values:
            entries += self.addresses(name, raw)
            if len(entries) > MOST_ADDRESSES:
                self.defects.append(f"the header {name}: more than {MOST_ADDRESSES} addresses: the rest was left out")
                return entries[:MOST_ADDRESSES]
        return entries

    def read_tags(self, fields: Fields, recipients: Sequence[str]) -> None:
        delivered = [
            raw_text(raw[:_LONGEST_LINE]) for name in _DELIVERED for raw in fields.get(name, ())[:_MOST_FIELDS]
        ]
        for address in (*recipients, *delivered):
            self.untagged(address.strip("<>"))

    def untagged(self, address: str) -> str:
        """Take our token, or the id of a return path, off a recipient's address, and keep it."""
        base, token = untag(address)
        if token:
            self.tokens.append(token)
        elif return_id := find_return_id(address):
            self.return_ids.append(return_id)
            return mailbox_of_return_path(address)
        return base

    def addresses(self, name: str, raw: bytes) -> list[tuple[str, str]]:
        nothing: tuple[list[tuple[str, str]], list[str]] = ([], [])
        found, defects = self.guard(f"the header {name}", lambda: read_addresses(raw), nothing)
        self.defects += (f"the header {name}: {defect}" for defect in defects)
        if defects or any("\ufffd" in title or "\ufffd" in address for title, address in found):
            self.keep_raw(name, raw)
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
        if disposition != "attachment" and not name and self.shown.takes(part, len(content)):
            read = self.plain if part.media_type == "text/plain" else self.body
            self.shown.add(part, read(part, content, number), len(content))
        else:
            self.attach(_attachment(part, content, name, number, inline=disposition == "inline"), part)
            self.open_signed(part, content)

    def open_signed(self, part: Part, content: bytes) -> None:
        """Read the parts of what is signed where the signature is around it. It is kept as an attachment, too."""
        if part.media_type not in SMIME or not is_signed_data(content) or self.opened == _MOST_OPENED:
            return
        self.opened += 1
        inner = signed_content(content)
        if inner is not None:
            self.read_parts(read_part(inner))

    def attach(self, attachment: Attachment, part: Part) -> None:
        self.attachments.append(attachment)
        if flag := flag_of(attachment, part.parameters):
            self.flags.append(flag)

    def plain(self, part: Part, content: bytes, number: int) -> str:
        text = self.body(part, content, number)
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflow(text, delsp=part.parameters.get("delsp", "").lower() == "yes")
        text, files = take_uuencoded(text, MOST_UUENCODED - self.uuencoded)
        self.uuencoded += len(files)
        for name, file in files:
            filename = safe_filename(name) or f"part-{number}"
            media_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
            original = name if name != filename else None
            self.attach(Attachment(filename, media_type, file, original_filename=original), part)
        if flag := protection(text):
            self.flags.append(flag)
        return text

    def make_text(self) -> None:
        """Make a text of the HTML or else of the calendar, where there is no plain one; or say why there is none."""
        self.text, self.html = self.shown.text, self.shown.html
        if self.text and not self.text.isspace():
            return
        if self.html is None:
            self.defects += [UNREAD[flag] for flag in dict.fromkeys(self.flags) if flag in UNREAD]
        if self.html is not None and (made := html_to_text(self.html)):
            self.text, self.text_from = made, "html"
            if len(self.html) > LONGEST_HTML:
                self.defects.append(f"the text was made of the first {LONGEST_HTML:,} characters of the HTML")
            return
        calendars = (one for one in self.attachments if one.media_type == "text/calendar")
        for calendar in islice(calendars, _MOST_CALENDARS):
            if made := calendar_text(decode(calendar.content[:_LONGEST_CALENDAR])[0]):
                self.text, self.text_from = made, "calendar"
                return

    def decoded(self, part: Part, number: int) -> bytes:
        encoding = (
            raw_text(part.fields["content-transfer-encoding"][0]) if "content-transfer-encoding" in part.fields else ""
        )
        encoding = encoding.lower().partition(";")[0].partition("(")[0].strip()
        content, defect = decode_body(part.body, encoding, is_text=part.media_type.startswith("text/"))
        if defect:
            self.defects.append(f"part {number} {defect}")
        if defect == UNNAMED and b"\0" in content:
            part.media_type = "application/octet-stream"  # a file that lost its headers
        return content

    def body(self, part: Part, content: bytes, number: int) -> str:
        charset = part.parameters.get("charset") or None
        if self.charset is None and charset and codec_of(charset) not in {None, "utf-8"}:
            self.charset = charset
        if len(content) > LONGEST_BODY:
            self.defects.append(f"part {number} is longer than {LONGEST_BODY:,} bytes: whole only as an attachment")
            self.attachments.append(_attachment(part, content, None, number, inline=False))
            content = content[:LONGEST_BODY]
        text, defect = decode(content, charset)
        if defect:
            self.defects.append(f"part {number}: {clean_line(defect)}")
        return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _subject(raw: bytes) -> tuple[str, str, tuple[str, ...]]:
    subject = read_text(raw)
    joined = decode_words(unfold(_FOLDS.sub("", raw_text(raw))))  # a fold may have fallen inside a token
    tokens = tuple(dict.fromkeys((*find_tokens(subject), *find_tokens(joined))))
    return subject, "" if joined == subject else clean_line(joined), tokens


def _one_author(first: bytes, entries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Make one author of two From headers of which the first has a name without an address, and the next an address."""
    whole = [entry for entry in entries if "@" in entry[1]]
    title = _UNNAMED.sub("", read_text(first)).strip("\"' ")
    if not whole or whole[0][0] or not title or "@" in title:
        return whole or entries
    return [(title, whole[0][1]), *whole[1:]]


def _claims(raw: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(id_ for one in raw[:_MOST_CLAIMS] for id_ in read_ids(one))[:_MOST_CLAIMS]


def _name_of_message(content: bytes) -> str | None:
    """Call a mail that is attached without a name by its subject, as mail programs do."""
    fields = read_part(content[:_LONGEST_VALUE]).fields
    subject = read_text(fields["subject"][0][:_LONGEST_RAW]) if "subject" in fields else ""
    name = safe_filename(subject.replace("/", "-").replace("\\", "-"))
    return safe_filename(f"{name}.eml") if name else None


def _attachment(part: Part, content: bytes, name: str | None, number: int, *, inline: bool) -> Attachment:
    extension = _EXTENSIONS(part.media_type) or ""
    if not name and part.media_type in MESSAGES:
        name = _name_of_message(content)
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
        method=clean_line(part.parameters.get("method", ""))[:40],
    )
