"""What is known when a batch is decided."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from router.model.copy import Copy
from router.model.creation import CreationRule, WrongRule, rules_of
from router.model.decision import Decision
from router.model.ids import local_id_hash, message_id_hash
from router.model.matching import Matching
from router.model.message import Message
from router.model.reading import Likeness, Reading
from router.model.settings import INTERNAL_MAIL, Choices, Chosen, Setting
from router.model.tracking import Disposition, Rule

if TYPE_CHECKING:  # loading it would make a worker's start three times as long
    from transports.base import Place

INTERNAL = frozenset({"user", "queue"})
"""The kinds of records that are people and queues of the organization's own."""

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
class Ruled:
    """What a person ruled that an address is; `record` is None where that one is not active, or not there any more."""

    ruling_id: int
    record: Record | None


@dataclass(frozen=True, slots=True)
class ThreadEmail:
    """An email already in the CRM that a message may answer; `participants` are normalized addresses.

    `subject` is its beginning, as far as it is compared.
    """

    id: UUID
    regarding_id: UUID | None
    participants: frozenset[str]
    created_at: datetime
    subject: str = ""


@dataclass(slots=True)
class KnownEmails:
    """The emails of the CRM that a batch names, or is.

    `by_key` holds their ids, also of emails that were erased since; `by_message_id` (hashes) only of those that are
    still there, which are in `by_id`. A relay may have given an email more than one Message-ID. `likeness` tells by key
    what an email says, as far as that is known, `senders` from which address the CRM has it (empty: from none); `ours`
    are the keys of email that the CRM wrote. `by_attempt` holds the email of each attempt to send of which a report may
    be. `by_legacy_token` and `by_conversation` hold the newest emails of a token of the CRM before, and of Exchange's
    conversation, with their Thread-Index. `similar` are, by the id of a copy, the newest emails with its subject: only
    where smart matching is on.
    """

    by_key: dict[bytes, UUID] = field(default_factory=dict)
    likeness: dict[bytes, Likeness] = field(default_factory=dict)
    senders: dict[bytes, str] = field(default_factory=dict)
    ours: set[bytes] = field(default_factory=set)
    by_message_id: dict[bytes, UUID] = field(default_factory=dict)
    by_token: dict[str, UUID] = field(default_factory=dict)
    by_attempt: dict[UUID, UUID] = field(default_factory=dict)
    by_id: dict[UUID, ThreadEmail] = field(default_factory=dict)
    by_legacy_token: dict[str, list[UUID]] = field(default_factory=dict)
    by_conversation: dict[UUID, list[tuple[str, UUID]]] = field(default_factory=dict)
    similar: dict[UUID, list[UUID]] = field(default_factory=dict)

    def of_message_id(self, message_id: str) -> ThreadEmail | None:
        """Find an email by its Message-ID, or by one that a relay gave it."""
        hashes = (message_id_hash(message_id), local_id_hash(message_id))
        ids = (self.by_message_id.get(hashed) for hashed in hashes)
        return next((email for id_ in ids if id_ and (email := self.by_id.get(id_))), None)

    def of_attempt(self, attempt_id: UUID) -> ThreadEmail | None:
        """Find an email by an attempt to send it."""
        id_ = self.by_attempt.get(attempt_id)
        return self.by_id.get(id_) if id_ else None

    def of_envelope_id(self, email_id: UUID) -> ThreadEmail | None:
        """Find an email by its own id, if a relay may have heard that."""
        return self.by_id.get(email_id) if email_id in self.by_attempt.values() else None

    def of_token(self, token: str) -> ThreadEmail | None:
        """Find an email by the token in its subject."""
        id_ = self.by_token.get(token)
        return self.by_id.get(id_) if id_ else None

    def of_legacy_token(self, token: str) -> list[ThreadEmail]:
        """Find the emails that have a token of the CRM before."""
        return [email for id_ in self.by_legacy_token.get(token, ()) if (email := self.by_id.get(id_))]

    def of_conversation(self, conversation: UUID | None) -> list[tuple[str, ThreadEmail]]:
        """Find the emails of a conversation of Exchange's, each with its Thread-Index."""
        found = self.by_conversation.get(conversation, ()) if conversation else ()
        return [(index, email) for index, id_ in found if (email := self.by_id.get(id_))]

    def similar_to(self, copy: Copy) -> list[ThreadEmail]:
        """Find the emails that have the subject of a copy."""
        return [email for id_ in self.similar.get(copy.id, ()) if (email := self.by_id.get(id_))]


@dataclass(slots=True)
class DecidedBefore:
    """Dispositions that copies have already.

    `places` are those of copies that have one, with their source. `not_promoted` gives the disposition of a message, by
    owner, key and `Copy.sender_gist`, that was ignored or held in another place of the same owner's mailbox.
    `held_twins` are the messages of which another one is held there that has the same key and says something else.
    `taken_back` are the messages, by owner and key, whose email that owner took back, or every owner. `sent` are the
    keys of what lay in a Sent folder, its source, and has an email.
    """

    places: "set[tuple[int, Place]]" = field(default_factory=set)
    not_promoted: dict[tuple[UUID, bytes, bytes | None], Disposition] = field(default_factory=dict)
    held_twins: set[tuple[UUID, bytes, bytes | None]] = field(default_factory=set)
    taken_back: set[tuple[UUID, bytes]] = field(default_factory=set)
    sent: set[tuple[int, bytes]] = field(default_factory=set)


@dataclass(slots=True)
class ThreadLoad:
    """How much automatic mail came lately.

    `threads` tells the thread of an email, named by one of its emails. `automatic` counts the automatic emails of the
    last hour, by thread and sender's domain.
    """

    threads: dict[UUID, UUID] = field(default_factory=dict)
    automatic: dict[tuple[UUID, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class Facts:
    """What the database knows of a batch, read in a fixed number of queries; grows as the batch is decided.

    `records` are those of each normalized address, `ruled` what persons ruled that addresses are. `rules` are the
    owners' own, None where the profile's default holds. `acknowledging` are the owners in whose name mail is
    acknowledged, `queues` those that are queues. `choices` are the settings, `matching` tells by what answers are
    found, and `never_track` the patterns of addresses that are never tracked, each with the owner whose it is, or None:
    the organization's. `creation_rules` are those of the database for the owners, whose `mailboxes` name them.
    """

    emails: KnownEmails = field(default_factory=KnownEmails)
    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    ruled: Mapping[str, Ruled] = field(default_factory=dict)
    rules: Mapping[UUID, Rule | None] = field(default_factory=dict)
    acknowledging: frozenset[UUID] = frozenset()
    queues: frozenset[UUID] = frozenset()
    choices: Choices = field(default_factory=Choices)
    never_track: frozenset[tuple[UUID | None, str]] = frozenset()
    decided: DecidedBefore = field(default_factory=DecidedBefore)
    thread_load: ThreadLoad = field(default_factory=ThreadLoad)
    matching: Matching = field(default_factory=Matching)
    creation_rules: Sequence[CreationRule | WrongRule] = ()
    mailboxes: Mapping[UUID, str] = field(default_factory=dict)

    def rule_of(self, copy: Copy) -> Rule:
        """Name the rule of the copy's owner, or the default of the profile that brought it."""
        if copy.headers_only:
            return Rule.NONE  # whatever it is by now: without its bodies the message cannot become an email
        return (copy.owner_id and self.rules.get(copy.owner_id)) or copy.default_rule

    def records_of(self, address: str) -> Sequence[Record]:
        """Find the records an address stands for: the active ones, or else the inactive.

        Where there is none, or too many, it is the one that a person ruled.
        """
        ruled = self.ruled_of(address)
        if ruled is not None:
            return [ruled.record] if ruled.record else ()
        records = self.records.get(address, ())
        if not address or len(records) > MOST_RECORDS:
            return ()
        return [record for record in records if record.active] or records

    def ruled_of(self, address: str) -> Ruled | None:
        """Find the ruling by which an address is resolved that would be unresolved without it."""
        return self.ruled.get(address) if not 0 < len(self.records.get(address, ())) <= MOST_RECORDS else None

    def chosen(self, setting: Setting, copy: Copy) -> Chosen:
        """Tell which value of a setting counts for a copy, and whose it is."""
        return self.choices.of(setting, copy.owner_id, copy.profile_choices)

    def creation_rules_for(self, copy: Copy) -> Sequence[CreationRule | WrongRule]:
        """Choose the rules of the database that are for the copy's owner, in their order."""
        return rules_of(self.creation_rules, self.mailboxes.get(copy.owner_id, "")) if copy.owner_id else ()

    def keyed(self, copy: Copy) -> Copy:
        """Give the sender's own copy of internal mail a key of its own where it is to be an email by itself.

        What the CRM wrote is one email in any case, and what became of the copy before the setting was chosen stays.
        """
        if not copy.judged or copy.sent_key is None or self.chosen(INTERNAL_MAIL, copy).value != "two":
            return copy
        if copy.key in self.emails.ours or (copy.source_id, copy.key) in self.decided.sent:
            return copy
        if not isinstance(copy.reading, Reading) or not self.is_among_us(copy.message):
            return copy
        return replace(copy, reading=copy.reading._replace(key=copy.sent_key))

    def is_internal(self, address: str) -> bool:
        """Whether an address belongs to users and queues, and to nobody else."""
        kinds = {record.kind for record in self.records_of(address)}
        return bool(kinds) and kinds <= INTERNAL

    def is_among_us(self, message: Message) -> bool:
        """Whether a message is internal mail: everybody on it is a user or queue."""
        recipients = (one.address for one in message.mentions if one.role in ("to", "cc", "bcc"))
        return self.is_internal(message.sender or "") and all(map(self.is_internal, recipients))

    def automatic_on(self, email_id: UUID, message: Message) -> int:
        """Count the automatic emails of the sender's domain that came within an hour on the thread of an email."""
        load = self.thread_load
        return load.automatic.get((load.threads.get(email_id, email_id), message.sender_domain), 0)

    def forget(self, keys: Collection[bytes]) -> None:
        """Know of no disposition that any copy has, and of no email that is the message of one of these keys."""
        self.decided = DecidedBefore()
        for key in keys:
            self.emails.by_key.pop(key, None)

    def learn(self, copy: Copy, decision: Decision) -> None:
        """Let later messages of the batch see what this one became."""
        email = decision.email
        if email is None:
            return
        emails, load = self.emails, self.thread_load
        emails.by_key[copy.key] = email.id
        emails.likeness[copy.key] = copy.likeness
        emails.senders[copy.key] = copy.message.sender or ""
        if email.message_id:
            emails.by_message_id.setdefault(message_id_hash(email.message_id), email.id)
        participants = frozenset(party.address for party in decision.parties)
        emails.by_id[email.id] = ThreadEmail(
            email.id, email.regarding_id, participants, copy.received_at, email.subject
        )
        if conversation := copy.message.conversation:
            of_it = emails.by_conversation.setdefault(conversation, [])
            of_it.append((copy.message.thread_index, email.id))
        if email.correlated_id:
            thread = load.threads.setdefault(email.correlated_id, email.correlated_id)
            load.threads[email.id] = thread
            if copy.classification.automatic and decision.report is None:
                key = (thread, copy.message.sender_domain)
                load.automatic[key] = load.automatic.get(key, 0) + 1
