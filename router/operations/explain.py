"""What is read of messages, and what would become of them in a mailbox. Nothing is stored.

Messages are read as the router reads them: in processes of their own, with its limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from router.decide import decide_batch
from router.errors import DatabaseError, UnknownName
from router.incoming.copies import Delivered, make_copy, read_each
from router.incoming.forward import trust_of
from router.model import (
    Classification,
    CreationRule,
    Decision,
    Disposition,
    Mark,
    Message,
    Packed,
    Reading,
    Rule,
    Unreadable,
    Unwrapped,
    normalize,
)
from router.parse.headers import raw_text
from router.profile import IncomingProfile, Profiles
from router.read import read
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.owners.owners import approved_owners, list_owners
from router.repository.trace.history import first_reasons
from router.repository.trace.origin import Origin, origin_of
from router.repository.trace.trace import EVERYTHING, Within
from router.unwrap import unwrap
from router.workers.pool import Workers
from transports.base import Place, Received

__all__ = [
    "Explained",
    "Mailbox",
    "Origin",
    "decide",
    "forward_profile",
    "mailbox_of",
    "origin",
    "read_forwards",
    "read_messages",
]


@dataclass(frozen=True, slots=True)
class Explained:
    """What was read of one message, by the name of its file, and its decision where a mailbox was named."""

    name: str
    reading: Reading | Unreadable
    decision: Decision | None = None

    @property
    def fault(self) -> str | None:
        """Say why nothing was read; then message and classification are empty."""
        return self.reading.fault if isinstance(self.reading, Unreadable) else None

    @property
    def message(self) -> Message:
        """The message as it was read."""
        return Message() if isinstance(self.reading, Unreadable) else self.reading.message

    @property
    def classification(self) -> Classification:
        """The kind of the message."""
        return Classification() if isinstance(self.reading, Unreadable) else self.reading.classification

    @property
    def attachments(self) -> Sequence[Packed]:
        """The attachments of the message."""
        return () if isinstance(self.reading, Unreadable) else self.reading.attachments

    @property
    def text_marks(self) -> Sequence[Mark]:
        """Where the text quotes, forwards or signs."""
        return () if isinstance(self.reading, Unreadable) else self.reading.text_marks

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers as text: lower-case name and value."""
        return [(name, raw_text(value)) for name, value in self.message.headers]


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The mailbox in which messages are judged.

    `rule` is taken in place of the owner's own, `default_rule` where the owner has none. `authserv` names the server
    whose Authentication-Results are believed, `choices` are the settings of its profile, `creation_rules` its rules for
    records from mail.
    """

    address: str
    rule: Rule | None
    default_rule: Rule
    authserv: str | None
    choices: Mapping[str, str] = field(default_factory=dict)
    creation_rules: Sequence[CreationRule] = ()


def mailbox_of(profiles: Profiles, address: str, rule: Rule | None = None) -> Mailbox:
    """Describe a mailbox as the profiles serve it: what its first incoming profile says holds."""
    serving = next(iter(profiles.routes_of(address).incoming), None)
    if serving is None:
        return Mailbox(normalize(address), rule, Rule.REPLIES, None)
    return Mailbox(
        normalize(address), rule, serving.tracking_rule, serving.authserv, serving.choices, serving.creation_rules
    )


def forward_profile(profiles: Profiles, name: str) -> IncomingProfile:
    """Find a profile whose role is forward. Raises UnknownName."""
    found = {one.name: one for one in profiles.incoming if one.forwards}
    if name not in found:
        known = ", ".join(found) or "none"
        raise UnknownName(f'no profile {name!r} has role = "forward"; there are: {known}')
    return found[name]


async def read_messages(workers: Workers, contents: Mapping[str, bytes], authserv: str | None) -> list[Explained]:
    """Read messages, given by name; the Authentication-Results of `authserv` are believed."""
    received = [_received(content) for content in contents.values()]
    readings = await read_each(workers, read, received, lambda one: (one.content, (), authserv))
    return [Explained(name, reading) for name, reading in zip(contents, readings, strict=True)]


async def read_forwards(
    workers: Workers, contents: Mapping[str, bytes], forward: IncomingProfile
) -> tuple[Mapping[str, Unwrapped], list[Explained]]:
    """Read mail that came to a forward mailbox, given by name: each outer mail, and the originals of all of them."""
    received = [_received(content) for content in contents.values()]
    opened = await read_each(workers, unwrap, received, lambda one: (one.content, trust_of(forward)))
    outer = {
        name: Unwrapped(held=one.fault) if isinstance(one, Unreadable) else one
        for name, one in zip(contents, opened, strict=True)
    }
    originals = [
        Explained(f"{name} ({number} of {len(unwrapped.originals)})", original.reading)
        for name, unwrapped in outer.items()
        for number, original in enumerate(unwrapped.originals, 1)
    ]
    return outer, originals


async def decide(database: Database, messages: Sequence[Explained], mailbox: Mailbox) -> list[Explained]:
    """Decide as if the messages had arrived in this mailbox, one after the other.

    Raises DatabaseError where it is no approved owner's.
    """
    owner = (await approved_owners(database, [mailbox.address])).get(mailbox.address)
    if owner is None:
        if any(one.mailbox == mailbox.address for one in await list_owners(database)):
            cure = f'"email-router owners approve {mailbox.address}"'
            raise DatabaseError(f"{mailbox.address} is not approved, so nothing of it is read: {cure}")
        raise DatabaseError(
            f'no owner has the mailbox {mailbox.address}: "email-router owners list" tells which there are'
        )
    rule = mailbox.rule or owner.rule or mailbox.default_rule
    copies = []
    for number, one in enumerate(messages):
        received = _received(b"", number)
        delivered = Delivered(owner, received, received.place)
        rules_for_records = mailbox.creation_rules
        copies.append(make_copy(delivered, one.reading, 0, rule, mailbox.choices, creation_rules=rules_for_records))
    rules = {owner.id: mailbox.rule} if mailbox.rule else {}
    decisions = await inbox.rehearse(database, copies, decide_batch, rules)
    former = await first_reasons(database, owner.id, copies)
    return [
        replace(one, decision=_with_former(decision, former.get(copy.key, ())))
        for one, copy, decision in zip(messages, copies, decisions, strict=True)
    ]


async def origin(database: Database, email_id: UUID, within: Within = EVERYTHING) -> Origin:
    """Tell who decided that an email is in the CRM. Raises UnknownName where there is no such email."""
    found = await origin_of(database, email_id, within)
    if found is None:
        raise UnknownName(f'the CRM has no email {email_id}; "email-router trace" finds one by what it says')
    return found


def _with_former(decision: Decision, former: Sequence[str]) -> Decision:
    """Add why a message was refused when it first came, where that is why it is refused now."""
    if decision.disposition not in (Disposition.IGNORED, Disposition.HELD):
        return decision
    return replace(decision, reasons=(*decision.reasons, *(f"then: {reason}" for reason in former)))


def _received(content: bytes, number: int = 0) -> Received:
    return Received(Place("", str(number)), content, datetime.now(UTC))
