"""An email that is to be sent, as a client of the API writes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NewParty:
    """An address as it was written, in a role: from, to, cc, bcc, reply_to."""

    role: str
    address: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """A file; `sha256` is that of its content."""

    name: str
    media_type: str
    content: bytes = field(repr=False)
    sha256: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewEmail:
    """What is inserted; `parties` in their order within each role."""

    parties: Sequence[NewParty]
    subject: str
    text: str | None
    html: str | None
    regarding_id: UUID | None
    send_after: datetime | None
    attachments: Sequence[NewAttachment]


@dataclass(frozen=True, slots=True)
class Once:
    """What keeps a request that is repeated from being done twice: SHA-256 of whose key it is, and of what it asks."""

    key: bytes
    body: bytes
