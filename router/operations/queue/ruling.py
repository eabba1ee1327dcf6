"""Who a sender is, as a person says on a page: told beforehand, made, and undone.

Each ruling is one of `operations.unresolved`, `letters`, `split` or `never_track`; here is what a page has to know
beside: what it touches of the mail that the person sees, whether to ask twice, and who was first.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from router.errors import DatabaseError, UnknownName
from router.operations import split as splits
from router.operations import unresolved
from router.operations.queue import Seen
from router.operations.settings import owner_of
from router.operations.split import Split
from router.operations.unresolved import NeverTracked, Refused, Ruling, subject_of
from router.repository.database import Database
from router.repository.rulings import rulings
from router.repository.senders import fold, mail, ruled
from router.repository.senders.mail import Line

__all__ = [
    "Asked",
    "NewRecord",
    "Overtaken",
    "Refused",
    "Ruling",
    "Settled",
    "ask",
    "create",
    "ignore",
    "link",
    "may_split",
    "never_track",
    "recent",
    "settled",
    "settled_since",
    "split",
    "undo",
]

MANY: Final = 20
"""Emails that a ruling may touch before a person has to confirm it."""

_EXAMPLES: Final = 3
_MOST_COUNTED: Final = 1000  # rulings of a day
_CARRIED_OUT: Final = 0.5  # seconds in which the page's own request does so; a router does what is left
_FOLDED: Final = 20  # pieces that are folded at once, so that the page shows what was done

RecordKind = Literal["contact", "lead", "account", "user"]
"""What is made of a sender. `user`: one of our own people, so that the mail is internal."""


class Overtaken(Refused):
    """Somebody else has ruled meanwhile: `first` is what is in force now; None: what was replaced is undone."""

    def __init__(self, words: str, first: Ruling | None) -> None:
        super().__init__(words)
        self.first = first


@dataclass(frozen=True, slots=True)
class Asked:
    """What a ruling on a subject would touch, as far as the person sees it, and all that is to come.

    `past` emails that wait, `sent` ones whose recipient it is; with `more`, at least so many. `examples` are new.
    `confirm`: it touches so much that the person is to say so twice. `in_force` is the ruling that it would replace.
    """

    subject: str
    past: int
    sent: int
    more: bool
    examples: tuple[Line, ...]
    in_force: Ruling | None

    @property
    def is_domain(self) -> bool:
        """Whether it is about all addresses of a domain."""
        return self.subject.startswith("@")

    @property
    def confirm(self) -> bool:
        """Whether a person has to say so twice."""
        return self.more or self.is_domain or self.past + self.sent > MANY


@dataclass(frozen=True, slots=True)
class Settled:
    """The last ruling in force, None: there is none; how many were made lately; with `more`, at least so many."""

    last: Ruling | None
    number: int
    more: bool


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to be made of a sender; `owner_id` is the user that it belongs to."""

    kind: RecordKind
    name: str
    owner_id: UUID | None = None


async def ask(database: Database, seen: Seen, subject: str) -> Asked:
    """Say what a ruling on an address, or on @ and a domain, would touch. Raises UnknownName where nothing waits."""
    subject = subject_of(subject)
    touched = await ruled.count_touched(database, seen, subject, _EXAMPLES)
    if touched is None:
        raise UnknownName(f"no {_mail_of(subject)} waits")
    shown = [await mail.read_mail(database, seen, one) for one in touched.examples]
    examples = tuple(
        Line(
            one.email_id,
            one.direction,
            one.received_at,
            one.sender.address if one.sender else "",
            one.sender.name if one.sender else "",
            one.subject,
        )
        for one in shown
        if one is not None
    )
    in_force = await _in_force(database, subject)
    return Asked(subject, touched.past, touched.sent, touched.more, examples, in_force)


async def link(database: Database, seen: Seen, subject: str, record_id: UUID, by: str, expected: int | None) -> Ruling:
    """Rule that an address is a record, or that @ and a domain belongs to one: for what waits, and what comes.

    `expected` is the ruling in force as the person knows it. Raises Overtaken, Refused, UnknownName.
    """
    subject = await _subject(database, seen, subject, expected)
    return await _rule(database, subject, record_id, by, expected)


async def ignore(database: Database, seen: Seen, subject: str, by: str, expected: int | None) -> Ruling:
    """Rule that nobody has to say who it is; who decides on all mail also of a domain, or mail without a sender.

    Raises as `link`.
    """
    subject = await _subject(database, seen, subject, expected)
    if seen is not None and subject == unresolved.NO_SENDER:
        raise Refused("others have mail without a sender, too: who decides on all mail ignores all of it")
    if seen is not None and subject.startswith("@"):
        raise Refused("a domain has senders whom others see: who decides on all mail ignores all of them")
    return await _rule(database, subject, None, by, expected)


async def create(database: Database, seen: Seen, address: str, new: NewRecord, by: str, expected: int | None) -> Ruling:
    """Make a record of a sender, and rule that it is the sender, in one. Its undoing takes the record out of use.

    Raises as `link`.
    """
    address = await _subject(database, seen, address, expected)
    if address.startswith("@") or "@" not in address:
        raise Refused("a record is made of an address")
    if not new.name.strip():
        raise Refused("a record needs a name")
    made = await ruled.make_record(database, address, new.kind, new.name.strip()[:300], new.owner_id, by, expected)
    if made.ruling_id is None:
        await _refuse(database, address, made.refused or "", expected)
        raise AssertionError
    return await _done(database, await unresolved.find(database, made.ruling_id))


async def never_track(
    database: Database, seen: Seen, subject: str, mailbox: str | None, by: str, expected: int | None
) -> NeverTracked:
    """Ignore a sender's mail from now on, for one mailbox, or with None for all. Raises as `link`.

    For all, or for a mailbox whose mail the person does not see, only who sees all mail may say so.
    """
    subject = unresolved.never_tracked_subject(await _subject(database, seen, subject, expected))
    if seen is not None:
        owner = await owner_of(database, mailbox) if mailbox else None
        if owner is None or owner.owner.id not in seen:
            raise Refused("only who may see all mail says for everybody whose mail is never tracked")
    try:
        done = await unresolved.never_track_sender(database, subject, mailbox, by, expected)
    except Refused as error:
        await _refuse(database, subject, str(error), expected)
        raise
    if done.ruling is not None:
        await _done(database, done.ruling)
    return done


async def undo(database: Database, ruling_id: int, by: str) -> Ruling:
    """Undo a ruling, as `unresolved.undo` does, and have it on the pages at once. Raises Refused, UnknownName."""
    return await _done(database, await unresolved.undo(database, ruling_id, by))


async def recent(
    database: Database, by: str | None, *, before: int | None = None, limit: int = 50
) -> tuple[Ruling, ...]:
    """List the rulings of a person, None: of all, the latest first; also those that were undone or replaced."""
    return tuple(await rulings.list_rulings(database, limit=limit, undone=True, before=before, by=by))


async def settled_since(database: Database, since: datetime) -> Settled:
    """Tell which ruling in force is the last of anybody, and how many were made since a time and are not undone."""
    number = await rulings.count_since(database, since, _MOST_COUNTED)
    last = await rulings.list_rulings(database, limit=1)
    return Settled(last[0] if last else None, number, number == _MOST_COUNTED)


async def settled(database: Database, seen: Seen, subject: str) -> Ruling | None:
    """Find the ruling by which a sender does not wait any more, for who has seen that mail; None: there is none."""
    for one in await rulings.rulings_in_force(database, subject_of(subject)):
        if await ruled.was_seen(database, seen, one.id):
            return one
    return None


async def split(database: Database, seen: Seen, email_id: UUID, by: str) -> Split:
    """Let an email be a thread of its own. Raises UnknownName, DatabaseError. `operations.split.undo` undoes it."""
    await may_split(database, seen, email_id)
    return await splits.split(database, email_id, by)


async def may_split(database: Database, seen: Seen, email_id: UUID) -> None:
    """Let an email be split off, or `operations.split.undo` be called with it. Raises UnknownName."""
    if await mail.read_mail(database, seen, email_id) is None:
        raise UnknownName(f"there is no email {email_id}")


async def _subject(database: Database, seen: Seen, written: str, expected: int | None) -> str:
    """Read a subject. Raises Overtaken where another ruling has settled it, UnknownName where nothing is seen of it."""
    subject = subject_of(written)
    if await ruled.count_touched(database, seen, subject, 0) is None:
        first = await _in_force(database, subject)
        if first is not None and first.id != expected and await ruled.was_seen(database, seen, first.id):
            raise Overtaken(f"{first.by} has settled {unresolved.named(subject)} (ruling {first.id})", first)
        raise UnknownName(f"no {_mail_of(subject)} waits")
    return subject


def _mail_of(subject: str) -> str:
    return unresolved.named(subject) if subject == unresolved.NO_SENDER else f"mail of {subject.removeprefix('@')}"


async def _rule(database: Database, subject: str, record_id: UUID | None, by: str, expected: int | None) -> Ruling:
    try:
        made = await unresolved.rule(database, subject, record_id, by, expected)
    except Refused as error:
        await _refuse(database, subject, str(error), expected)
        raise
    return await _done(database, made)


async def _refuse(database: Database, subject: str, words: str, expected: int | None) -> None:
    """Raise Overtaken where another ruling is in force than expected, or Refused."""
    first = await _in_force(database, subject)
    if (first.id if first else None) != expected:
        raise Overtaken(words, first) from None
    raise Refused(words) from None


async def _in_force(database: Database, subject: str) -> Ruling | None:
    return next((one for one in await rulings.rulings_in_force(database, subject) if one.subject == subject), None)


async def _done(database: Database, ruling: Ruling) -> Ruling:
    """Carry out what can be done now, and have it on the pages at once; routers do the rest.

    It is in force whatever becomes of that: to say otherwise would be wrong.
    """
    ruling = await unresolved.carry_out_some(database, ruling, _CARRIED_OUT)
    with suppress(DatabaseError):
        for _ in range(_FOLDED):
            if not await fold.fold(database):
                break
    return ruling
