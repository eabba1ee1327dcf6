"""Mail that is forwarded in the text of another: what the forwarder's program wrote above it, read back.

Less certain than all else: the forwarder can have changed every word, and each program writes it in its own way. Only
the uppermost is read. It has no Message-ID, so the same mail elsewhere is not known as the same.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import tzinfo
from textwrap import dedent
from typing import Literal

from router.model import Mention, Message
from router.model.token import find_tokens
from router.parse.addresses import read_addresses
from router.parse.mark_words import FORWARDED, WROTE
from router.parse.subject import may_forward
from router.parse.text import clean_line
from router.unwrap.found import Found
from router.unwrap.inline_words import BEGINS, FIELDS, FORWARD_PREFIX, Field, either, words_of
from router.unwrap.written_date import read_written_date

_LONGEST = 200_000  # characters in which it has to begin
_LONGEST_LINE = 300
_MOST_TRIES = 200
_MOST_LINES = 60  # of what stands above the mail
_FIELD_OF = {word: name for name, words in FIELDS.items() for word in words_of(words)}
_ANY, _SUBJECT = either(" | ".join(FIELDS.values())), either(FIELDS["subject"])
_COLON = r"[*_]*[ \t]*[:\uff1a][*_]*[ \t]*"
_FIELD = re.compile(rf"[ \t*_]*({_ANY}){_COLON}(.*)", re.IGNORECASE)
_MARKER = re.compile(rf"[\s>*]*(?:[-_]{{2,}}[ \t]*(?:{FORWARDED})|(?:{either(BEGINS)})\s*[:\uff1a])", re.IGNORECASE)
# Yahoo writes all of it in one line, without a space before the next field.
_ONE_LINE = re.compile(
    rf"^[ \t]*(-{{3,}}[^-\n]{{3,60}}-{{3,}})[ \t]*((?:{_ANY}) ?[:\uff1a][^\n]{{10,5000}})$",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_FIELD = re.compile(rf"(?<=>)(?=(?:{_ANY}) ?[:\uff1a] )|(?<=\S)(?=(?:{_SUBJECT}) ?[:\uff1a] )", re.IGNORECASE)
_PREFIX = re.compile(rf"\s*(?:{either(FORWARD_PREFIX)})(?:\[\d{{1,3}}\])?\s*[:\uff1a]\s*", re.IGNORECASE)
_QUOTE = re.compile(r"^>[ \t]?", re.MULTILINE)
_MAILTO = re.compile(r"<mailto:[^<>\n]*>|\[mailto:([^\[\]\n]*)\]", re.IGNORECASE)
_WROTE = re.compile(WROTE, re.IGNORECASE)
_ADDRESS = re.compile(r"(?:(?<![<(\[])[<(\[]+)?(?<![^\s<>()\[\]\",;:])([^\s<>()\[\]\",;:@]+@[^\s<>()\[\]\",;:@]+)")
_NAME = re.compile(r"[\"“„«]\s?([^\"“”„«»\n]{1,100}?)\s?[\"”»]\s*\(?$")


_ROLES: tuple[Literal["from", "to", "cc", "reply_to"], ...] = ("from", "to", "cc", "reply_to")
_Read = tuple[dict[Field, str], str]  # the fields, and the mail below them


def find_inline(outer: Message, content: bytes) -> Found | None:  # noqa: ARG001  # as every form is looked for
    """Find the mail in the text, if the program says that it is a forward, or the subject does."""
    zone = outer.date.tzinfo if outer.date else None
    message = read_inline(outer.text or "", outer.subject, zone)
    if message is None or message.sender is None:
        return None
    # Attached files belong to the forwarded mail: mail programs send them along.
    message = replace(message, attachments=outer.attachments)
    forwarder = outer.sender or ""
    return Found("inline", forwarder, (forwarder,), (message,))


def read_inline(text: str, subject: str, zone: tzinfo | None) -> Message | None:
    """Read the uppermost forwarded mail of a text, lines ending with LF. `zone` is the forwarder's."""
    text = text.replace("\xa0", " ").replace("\ufeff", "")
    prefix = _PREFIX.match(subject)
    read = _headed(text, is_forward=prefix is not None) or (
        _attributed(text) if prefix and not may_forward(subject) else None
    )
    if read is None:
        return None
    fields, body = read
    found = clean_line(fields["subject"]) if "subject" in fields else subject[prefix.end() if prefix else 0 :]
    return Message(
        subject=found,
        tokens=find_tokens(found),
        date=read_written_date(fields["date"], zone) if "date" in fields else None,
        mentions=tuple(_mentions(fields)),
        text=_unquoted(body).strip("\n") + "\n",
    )


def _unquoted(body: str) -> str:
    """Take off a quote's marks where the whole mail has them."""
    return _QUOTE.sub("", body) if all(line.startswith(">") for line in body.split("\n") if line.strip()) else body


def _mentions(fields: dict[Field, str]) -> Iterator[Mention]:
    for role in _ROLES:
        written = _MAILTO.sub(lambda match: f"<{match[1]}>" if match[1] else "", fields.get(role, ""))
        entries = [entry for entry in read_addresses(written.encode("utf-8", "replace"))[0] if "@" in entry[1]]
        for position, (name, address) in enumerate(entries[:1] if role == "from" else entries):
            yield Mention(role, position, address, "" if "@" in name else name.strip("' "))


# --- With its headers in words above it ---


def _headed(text: str, *, is_forward: bool) -> _Read | None:
    """Read a mail below a block of headers; that it is a forward is said above, or in the subject."""
    head = _ONE_LINE.sub(_on_lines, text[:_LONGEST], count=1)
    lines = (head + text[_LONGEST:]).split("\n")
    tries = 0
    for number, line in enumerate(lines[: head.count("\n") + 1]):
        if not _FIELD.match(_QUOTE.sub("", line[:_LONGEST_LINE].lstrip())):
            continue
        marked = any(_MARKER.match(one[:_LONGEST_LINE]) for one in lines[max(0, number - 4) : number])
        if not (marked or is_forward):
            continue
        quoted = line.lstrip().startswith(">")
        above = lines[number : number + _MOST_LINES]
        fields, height = _read_fields([_QUOTE.sub("", one.lstrip()) for one in above] if quoted else above)
        if "from" in fields and len(fields) >= 3:
            body = "\n".join(lines[number + height :])
            return fields, _QUOTE.sub("", body) if quoted else body
        tries += 1
        if tries == _MOST_TRIES:
            break
    return None


def _on_lines(found: re.Match[str]) -> str:
    return f"{found[1]}\n" + _NEXT_FIELD.sub("\n", found[2])


def _read_fields(lines: Sequence[str]) -> tuple[dict[Field, str], int]:
    """Read the fields, and how many lines they take. One empty line may stand between two of them."""
    fields: dict[Field, str] = {}
    name: Field | None = None
    height = 0
    for number, line in enumerate(lines):
        found = _FIELD.match(line)
        if found and (new := _FIELD_OF.get(found[1].lower())) and new not in fields:
            name = new
            fields[name] = found[2].strip("*_ \t")
        elif name in {"to", "cc"} and line.strip() and (fields[name].endswith((",", ";")) or "@" in line):
            fields[name] += " " + line.strip()
        elif line.strip() or (number and not lines[number - 1].strip()):
            break
        else:
            continue
        height = number + 1
    return fields, height


# --- With one line above it that says who wrote when ---


def _attributed(text: str) -> _Read | None:
    """Read a mail below "On 28/10/2021 12:46, "John Doe" <john@example.com> wrote:", as Outlook for Mac forwards."""
    lines = text[:_LONGEST].split("\n")
    for number, line in enumerate(lines):
        address = _ADDRESS.search(line[:400])
        if address is None or not line.rstrip().endswith((":", "\uff1a")) or not _WROTE.search(line[:400]):
            continue
        name = _NAME.search(line[: address.start()])
        rest = f"{line[: address.start()]} {line[address.end() :]}".rstrip(" :\uff1a")
        fields: dict[Field, str] = {"from": f"{name[1] if name else ''} <{address[1]}>", "date": rest}
        return fields, dedent("\n".join(lines[number + 1 :]) + text[_LONGEST:])
    return None
