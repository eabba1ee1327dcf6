"""What is known when a batch is decided."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from router.model.copy import Copy
from router.model.decision import Decision
from router.model.ids import local_id_hash, message_id_hash
from router.model.message import Message
from router.model.tracking import Disposition, Rule

if TYPE_CHECKING:  # loading it would make a worker's start three times as long
    from transports.base import Place

MOST_RECORDS = 100
"""Records that one address may belong to; of an address with more, nobody can tell whose it is."""


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
    """An email already in the CRM that a message may answer; `participants` are normalized addresses."""

    id: UUID
    regarding_id: UUID | None
    participants: frozenset[str]
    created_at: datetime


@dataclass(slots=True)
class Facts:
    """What the database knows of a batch, read in a fixed number of queries; grows as the batch is decided.

    `emails_by_key` maps the key of a message that is an email already to its id (also one erased since),
    `emails_by_message_id` hashes to emails, also those of the ids that a relay gave them; `decided` holds the places
    that already have a disposition, `refused` what another copy of the same owner became that was ignored or held, by
    owner and key. `threads` names the thread of an email by one of its emails, `automatic` counts the automatic emails
    of the last hour, by thread and sender's domain.
    """

    rules: dict[UUID, Rule | None] = field(default_factory=dict)
    refused: dict[tuple[UUID, bytes], Disposition] = field(default_factory=dict)
    emails_by_key: dict[bytes, UUID] = field(default_factory=dict)
    emails_by_message_id: dict[bytes, UUID] = field(default_factory=dict)
    emails_by_token: dict[str, UUID] = field(default_factory=dict)
    emails: dict[UUID, ThreadEmail] = field(default_factory=dict)
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    decided: "set[tuple[int, Place]]" = field(default_factory=set)
    threads: dict[UUID, UUID] = field(default_factory=dict)
    automatic: dict[tuple[UUID, str], int] = field(default_factory=dict)

    def rule_of(self, copy: Copy) -> Rule:
        """Name the rule of the copy's owner, or the default of the profile that brought it."""
        if copy.headers_only:
            return Rule.NONE  # whatever it is by now: without its bodies the message cannot become an email
        return (copy.owner_id and self.rules.get(copy.owner_id)) or copy.default_rule

    def email_of_id(self, message_id: str) -> ThreadEmail | None:
        """Find an email by its Message-ID, or by the one that the relay gave it."""
        hashes = (message_id_hash(message_id), local_id_hash(message_id))
        ids = (self.emails_by_message_id.get(hashed) for hashed in hashes)
        return next((email for id_ in ids if id_ and (email := self.emails.get(id_))), None)

    def records_of(self, address: str) -> Sequence[Record]:
        """Find the records an address stands for: the active ones, or else the inactive; none if there are too many."""
        records = self.records.get(address, ())
        if not address or len(records) > MOST_RECORDS:
            return ()
        return [record for record in records if record.active] or records

    def automatic_on(self, email_id: UUID, message: Message) -> int:
        """Count the automatic emails of the sender's domain that came within an hour on the thread of an email."""
        return self.automatic.get((self.threads.get(email_id, email_id), message.sender_domain), 0)

    def learn(self, copy: Copy, decision: Decision) -> None:
        """Let later messages of the batch see what this one became."""
        if decision.email is None:
            return
        email = decision.email
        self.emails_by_key[copy.key] = email.id
        if email.message_id:
            self.emails_by_message_id.setdefault(message_id_hash(email.message_id), email.id)
        participants = frozenset(party.address for party in decision.parties)
        self.emails[email.id] = ThreadEmail(email.id, email.regarding_id, participants, copy.received_at)
        if email.correlated_id:
            thread = self.threads.setdefault(email.correlated_id, email.correlated_id)
            self.threads[email.id] = thread
            if copy.classification.automatic and decision.report is None:
                key = (thread, copy.message.sender_domain)
                self.automatic[key] = self.automatic.get(key, 0) + 1
