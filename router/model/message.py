"""A message as it was read."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

_BEGINNING: Final = 44  # digits of a Thread-Index that begins a conversation
_GUID: Final = slice(12, 44)  # and of the conversation's GUID in it

Role = Literal["from", "to", "cc", "bcc", "reply_to"]


class Mention(NamedTuple):
    """An address as a header names it: `address` normalized, `name` decoded."""

    role: Role
    position: int
    address: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the body. `content` is decoded; `filename` is safe to write to disk.

    `method` is what the Content-Type of a calendar says that it is for (RFC 6047 §2.4).
    """

    filename: str
    media_type: str
    content: bytes
    content_id: str | None = None
    inline: bool = False
    original_filename: str | None = None
    method: str = ""


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

    `tokens` are those of the subject, then those of the recipients' addresses, which are without them in `mentions`.
    `return_ids` are the attempts to send, in the return path of which one of those addresses is (`return_path`).

    `joined_subject` is the subject without the folds that may have fallen inside a token, empty where it is the same.
    `thread_index` is Exchange's Thread-Index in hexadecimal, empty where there is none that can be read.

    `text_from` says what `text` was made of: the HTML or the calendar where there is no plain one. `flags` are what a
    person should know of its form: smime-signed, smime-encrypted, pgp-signed, pgp-encrypted, tnef. `raw_headers` keeps
    the written form, bytes beyond ASCII in hexadecimal, of headers that could not be decoded without loss or guessing.
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
    return_ids: tuple[UUID, ...] = ()
    joined_subject: str = ""
    thread_index: str = ""

    def of(self, role: Role) -> tuple[Mention, ...]:
        """Name the addresses in one role, in their order."""
        return tuple(mention for mention in self.mentions if mention.role == role)

    @property
    def sender(self) -> str | None:
        """The normalized address of who sent it: the first in From."""
        return next((mention.address for mention in self.mentions if mention.role == "from"), None)

    @property
    def thread_ids(self) -> tuple[str, ...]:
        """Every Message-ID by which an earlier email could be found, each once, the likeliest first."""
        return tuple(dict.fromkeys((*self.in_reply_to, *reversed(self.references))))

    @property
    def recipients(self) -> frozenset[str]:
        """The normalized addresses in To, Cc and Bcc."""
        return frozenset(mention.address for mention in self.mentions if mention.role in ("to", "cc", "bcc"))

    @property
    def conversation(self) -> UUID | None:
        """The conversation of the message, by its Thread-Index."""
        return UUID(hex=self.thread_index[_GUID]) if self.thread_index else None

    @property
    def goes_on(self) -> bool:
        """Whether its Thread-Index is that of an answer."""
        return len(self.thread_index) > _BEGINNING

    @property
    def sender_domain(self) -> str:
        """The domain of the sender's address; empty if there is none."""
        return (self.sender or "").rpartition("@")[2]

    @property
    def claimed_keys(self) -> tuple[bytes, ...]:
        """The keys that the message has with the Message-IDs it claims: a relay may have given it another one."""
        return tuple(replace(self, message_id=claim).key for claim in self.claims) if self.date else ()

    @property
    def key(self) -> bytes:
        """Identify the message (32 bytes), in whichever mailbox and by whichever way it came.

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
                (self.text if self.text_from == "plain" else None) or "",  # how text is made of HTML may change
                self.html or "",
            ]
        digest = hashlib.sha256()
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8) + raw)
        for attachment in () if parts[0] == "id" else self.attachments:
            digest.update(hashlib.sha256(attachment.content).digest())
        return digest.digest()
