"""The values that flow through the router: what a message is, what is known about it, and what becomes of it.

Received ──parse──▶ Message ─┐
                             ├─▶ Copy ──decide(copy, Facts)──▶ Decision
whose mailbox, which rule ───┘
"""

import hashlib
import random
import time
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Literal, NamedTuple
from uuid import UUID

from transports.base import Outcome, Place


class Rule(StrEnum):
    """Which of an owner's mail is promoted."""

    ALL = "all"
    REPLIES = "replies"
    KNOWN = "known"
    EMAIL_ENABLED = "email-enabled"
    NONE = "none"


class Disposition(StrEnum):
    """What became of one copy of a message."""

    PROMOTED = "promoted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    HELD = "held"
    DEAD = "dead"


Role = Literal["from", "to", "cc", "bcc", "reply_to"]
Method = Literal["in-reply-to", "references", "token", "report"]

KEY_VERSION = 1


def uuid7() -> UUID:
    """Make an id that grows with time, so that new rows lie together in their index (RFC 9562 §5.7)."""
    # Asking the system would give way to other threads each time, and an id is no secret.
    value = (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80)
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def normalise(address: str) -> str:
    """Bring an address into the one form in which it is stored and compared; `crm.normalise` does the same in SQL."""
    address = address.strip(" \t\r\n")
    if address.isascii() and "xn--" not in address.lower():
        return address.lower()
    local, at, domain = address.rpartition("@")
    labels = [_unicode_label(label) for label in domain.split(".")] if at else [domain]
    return unicodedata.normalize("NFC", (local + at + ".".join(labels)).lower())  # lower case can compose anew


def _unicode_label(label: str) -> str:
    while label.lower().startswith("xn--"):  # a hostile label can hold another
        try:
            decoded = label[4:].lower().encode("ascii").decode("punycode")
            decoded.encode("utf-8")  # surrogates are no characters
        except UnicodeError:
            return label
        if not decoded:
            return label
        label = decoded
    return label


def message_id_hash(message_id: str) -> bytes:
    """Hash a Message-ID (without brackets) to 16 bytes: long ids do not fit an index."""
    return hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).digest()[:16]


# --- A message as it was read ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mention:
    """An address as a header names it: `address` normalised, `name` decoded."""

    role: Role
    position: int
    address: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the body. `content` is decoded; `filename` is safe to write to disk."""

    filename: str
    media_type: str
    content: bytes
    content_id: str | None = None
    inline: bool = False
    original_filename: str | None = None


class Mark(NamedTuple):
    """A range of characters of a text that its author did not write anew: from `start`, up to and without `end`."""

    start: int
    end: int
    kind: Literal["quote", "forward", "signature"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a person would read it. Ids are without angle brackets; what could not be read is in `defects`.

    `headers` are the raw values by lower-case name, those of one name in their order. Our own private headers are not
    among them: anybody could have written them, so the ids in them are only `claims`.

    `text_from` says what `text` was made of: the HTML or the calendar where there is no plain one. `flags` are what a
    person should know of its form: smime-signed, smime-encrypted, pgp-signed, pgp-encrypted, tnef. `raw_headers` keeps
    the written form, bytes beyond ASCII in hexadecimal, of headers that could not be decoded without loss or guessing.
    `text_marks` say where in the text quotes and signatures are.
    """

    message_id: str | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    subject: str = ""
    tokens: tuple[str, ...] = ()
    date: datetime | None = None
    mentions: tuple[Mention, ...] = ()
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, bytes], ...] = ()
    claims: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    text_from: Literal["plain", "html", "calendar"] = "plain"
    flags: tuple[str, ...] = ()
    raw_headers: tuple[tuple[str, str], ...] = ()
    text_marks: tuple[Mark, ...] = ()

    def of(self, role: Role) -> tuple[Mention, ...]:
        """Name the addresses in one role, in their order."""
        return tuple(mention for mention in self.mentions if mention.role == role)

    @property
    def sender(self) -> str | None:
        """The normalised address of who sent it: the first in From."""
        return next((mention.address for mention in self.mentions if mention.role == "from"), None)

    @property
    def thread_ids(self) -> tuple[str, ...]:
        """Every id by which an earlier email could be found, each once, the likeliest first."""
        return tuple(dict.fromkeys((*self.in_reply_to, *reversed(self.references))))

    @property
    def key(self) -> bytes:
        """Tell this message from every other, in whichever mailbox and by whichever way it came (32 bytes).

        SHA-256 of Message-ID and Date (as an instant); lacking either, of sender, date, subject and decoded bodies;
        never of headers that transport or lists change.
        """
        date = self.date.astimezone(UTC).isoformat() if self.date else ""
        if self.message_id and self.date:
            parts = ["id", self.message_id, date]
        else:
            parts = [
                "content",
                self.message_id or "",
                self.sender or "",
                date,
                self.subject,
                (self.text if self.text_from == "plain" else None) or "",  # how one is made may change
                self.html or "",
            ]
        digest = hashlib.sha256()
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8) + raw)
        for attachment in () if parts[0] == "id" else self.attachments:
            digest.update(hashlib.sha256(attachment.content).digest())
        return digest.digest()


# --- What kind of message it is ---------------------------------------------------------------------------------------

ReportKind = Literal["bounce", "delay", "delivery", "complaint"]


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What became of one recipient.

    `address` is the one the mail was sent to, if the report tells; `final` where it ended after forwarding. `code` is
    an enhanced status code (RFC 3463), or the reply code where there is none, or empty; `text` the server's words.
    """

    address: str
    kind: ReportKind
    code: str = ""
    text: str = ""
    final: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail system tells of mail sent before; `kind` is the worst that it tells of a recipient.

    `message_ids` and `tokens` may name that mail, the likeliest first; the last of them are only what looks like one.
    """

    kind: ReportKind
    recipients: tuple[RecipientReport, ...] = ()
    message_ids: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """What a calendar message is about (RFC 5545, 5546): its first event. `method` is in lower case.

    `start` and `end` are dates of whole days, or moments; without a time zone where none was told.
    """

    method: str
    uid: str
    start: date | None = None
    end: date | None = None
    organiser: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trusted server found out about the sender (RFC 8601): each method with its results, in their order."""

    server: str
    results: tuple[tuple[str, str], ...] = ()

    def of(self, method: str) -> str | None:
        """Give the result of a method such as `dmarc`; of several (one for each signature) a pass counts."""
        results = [result for name, result in self.results if name == method]
        return "pass" if "pass" in results else next(iter(results), None)


@dataclass(frozen=True, slots=True)
class Classification:
    """What kind of message it is. `automatic` and `loop` say what shows it; None: it is not."""

    automatic: str | None = None
    report: Report | None = None
    bulk: Literal["list", "bulk"] | None = None
    calendar: CalendarEvent | None = None
    loop: str | None = None
    verdict: Verdict | None = None


# --- A copy of it ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Owner:
    """The user or queue that a mailbox belongs to; `rule` None: the profile's default."""

    id: UUID
    mailbox: str
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a message, in one owner's mailbox. `id` becomes the email's if the copy is promoted.

    `fault`: the server could not give it up, in its words. `sent`: it lies in the owner's Sent folder.
    `headers_only`: the owner's rule was `none` when it was fetched, so it has no bodies.
    """

    id: UUID
    source_id: int
    place: Place
    owner_id: UUID
    default_rule: Rule
    received_at: datetime
    message: Message
    content: bytes
    fault: str | None = None
    sent: bool = False
    headers_only: bool = False
    classification: Classification = Classification()
    key: bytes = b""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.message.key)


# --- What is known ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """Anything in the CRM that can be named or written to."""

    id: UUID
    kind: str
    active: bool
    owner_id: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ThreadEmail:
    """An email already in the CRM that a message may answer; `participants` are normalised addresses."""

    id: UUID
    regarding_id: UUID | None
    participants: frozenset[str]
    created_at: datetime


@dataclass(slots=True)
class Facts:
    """What the database knows of a batch, read in a fixed number of queries; grows as the batch is decided.

    `emails_by_key` maps the key of a message that is an email already to its id (also one erased since),
    `emails_by_message_id` hashes to emails, `decided` holds the places that already have a disposition, `refused` what
    another copy of the same owner became that was ignored or held, by owner and key.
    """

    rules: dict[UUID, Rule | None] = field(default_factory=dict)
    refused: dict[tuple[UUID, bytes], Disposition] = field(default_factory=dict)
    emails_by_key: dict[bytes, UUID] = field(default_factory=dict)
    emails_by_message_id: dict[bytes, UUID] = field(default_factory=dict)
    emails_by_token: dict[str, UUID] = field(default_factory=dict)
    emails: dict[UUID, ThreadEmail] = field(default_factory=dict)
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    decided: set[tuple[int, Place]] = field(default_factory=set)

    def rule_of(self, copy: Copy) -> Rule:
        """Name the rule of the copy's owner, or the default of the profile that brought it."""
        if copy.headers_only:
            return Rule.NONE  # whatever it is by now: without its bodies the message cannot become an email
        return self.rules.get(copy.owner_id) or copy.default_rule

    def learn(self, copy: Copy, decision: "Decision") -> None:
        """Let later messages of the batch see what this one became."""
        if decision.email is None:
            return
        email = decision.email
        self.emails_by_key[copy.key] = email.id
        if email.message_id:
            self.emails_by_message_id.setdefault(message_id_hash(email.message_id), email.id)
        participants = frozenset(party.address for party in decision.parties)
        self.emails[email.id] = ThreadEmail(email.id, email.regarding_id, participants, copy.received_at)


# --- What becomes of it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Party:
    """An address in a role on one email, resolved to one record, or to none; one address can make several parties."""

    role: Role
    position: int
    address: str
    name: str
    record_id: UUID | None


@dataclass(frozen=True, slots=True)
class Email:
    """An email activity made of a message, as it will stand in `crm.email`; outgoing if the owner `sent` it."""

    id: UUID
    message_id: str | None
    in_reply_to: str | None
    thread_ids: tuple[str, ...]
    subject: str
    text: str | None
    html: str | None
    owner_id: UUID
    dated_at: datetime | None
    received_at: datetime
    regarding_id: UUID | None = None
    correlated_id: UUID | None = None
    method: Method | None = None
    sent: bool = False
    calendar: CalendarEvent | None = None
    flags: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    text_marks: tuple[Mark, ...] = ()
    raw_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The disposition of one copy, with every reason that led to it.

    `email` and `parties` are set if it is promoted; `email_id` then too, and for a duplicate, whose email it names.
    `report` is set if it reports on the email that it is correlated with.
    """

    disposition: Disposition
    rule: Rule
    reasons: tuple[str, ...]
    email_id: UUID | None = None
    email: Email | None = None
    parties: tuple[Party, ...] = ()
    report: Report | None = None


# --- What is sent ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A claimed email, with all that is needed to compose it and to record what became of it.

    `recipients` are the normalised addresses that did not take it yet, `taken` counts those that did; `mentions` are
    all that the headers name (bcc too, which composing leaves out). `date` and `message_id` are those of the first
    attempt, so that a second copy is known as one. `attempt` counts from 1. `attached`: there are attachments, which
    are read only when its turn has come.
    """

    id: UUID
    attempt_id: UUID
    attempt: int
    owner_id: UUID
    mailbox: str
    message_id: str
    token: str
    date: datetime
    subject: str
    text: str | None
    html: str | None
    in_reply_to: str | None
    thread_ids: tuple[str, ...]
    mentions: tuple[Mention, ...]
    recipients: tuple[str, ...]
    taken: int = 0
    attached: bool = False
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt to send came to. `next_at` is set if it is to be tried again (`pending_send`)."""

    email_id: UUID
    attempt_id: UUID
    status: Literal["sent", "failed", "unknown", "pending_send"]
    reason: str | None
    outcomes: tuple[Outcome, ...] = ()
    next_at: datetime | None = None
