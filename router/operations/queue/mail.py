"""A sender and one message, with all that a page shows of them; nothing of mail that the person may not see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from router.errors import DatabaseError, UnknownName
from router.operations.queue import Seen
from router.operations.unresolved import Candidate, Ruling, subject_of
from router.operations.words import vouching
from router.parse.guess import Guess, guess
from router.repository.database import Database
from router.repository.rulings import rulings, unresolved
from router.repository.senders import mail, pages, ruled, search
from router.repository.senders.mail import Attached, Line, Mail, Party
from router.repository.senders.pages import Sender

__all__ = [
    "Attached",
    "Candidate",
    "Guess",
    "Line",
    "Mail",
    "Opened",
    "Party",
    "Person",
    "Piece",
    "more_of_sender",
    "open_mail",
    "person",
    "pieces",
]

_LISTED: Final = 20  # other emails of a sender
_NAMED: Final = 10  # records that have the name of a sender

_FLAGS: Final = {
    "new-on-thread": "The sender was not on the thread before.",
    "subject-changed": "Its subject has nothing in common with that of the email that it answers.",
    "automatic": "A machine wrote it.",
    "list": "It came by a mailing list.",
    "bulk": "It went to many.",
    "smime-signed": "It is signed (S/MIME); the signature is not verified.",
    "smime-encrypted": "It is encrypted (S/MIME), and was not opened.",
    "pgp-signed": "It is signed (PGP); the signature is not verified.",
    "pgp-encrypted": "It is encrypted (PGP), and was not opened.",
    "tnef": "It has a winmail.dat of Outlook's.",
    "forwarded-inline": "It was read out of the text of a forward: nobody vouches for its words.",
    "other-copy": "A message that says something else came with the same Message-ID and date: one may be forged.",
}

_DENIED: Final = "dmarc-fail"


@dataclass(frozen=True, slots=True)
class Person:
    """A sender who waits: the row, why the mail waits, who it may be, what is guessed, and which rulings are in force.

    `fault` says why there are no candidates, where they could not be looked for.
    """

    sender: Sender
    reason: str
    candidates: tuple[Candidate, ...]
    guess: Guess
    in_force: tuple[Ruling, ...]
    mails: tuple[Line, ...]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: `kind` is None for what its author wrote anew, else quote, forward or signature."""

    text: str
    kind: str | None

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.text.count("\n") + 1


@dataclass(frozen=True, slots=True)
class Opened:
    """One message, and its thread. `denied` says why its sender is not believed, `vouching` what our server says else.

    Both are None where our mail server says nothing, or what it said is not kept any more.
    `notes` are what else a person should know, `text` the text in its pieces.
    """

    mail: Mail
    text: tuple[Piece, ...]
    denied: str | None
    vouching: str | None
    notes: tuple[str, ...]
    thread: tuple[Line, ...]


async def person(database: Database, seen: Seen, address: str) -> Person:
    """Show a sender who waits. Raises UnknownName where nothing of theirs waits that may be seen."""
    address = subject_of(address)
    found = await pages.find_senders(database, seen, [address])
    if not found:
        raise UnknownName(f"no mail of {address} waits")
    row = found[0]
    candidates, fault = await _candidates(database, seen, row)
    latest = await mail.read_mail(database, seen, row.latest_id)
    [reason] = await unresolved.why_unresolved(database, [address])
    is_public = await ruled.is_public(database, address.rpartition("@")[2])
    return Person(
        row,
        reason,
        candidates,
        _guess(row, latest, is_public=is_public),
        tuple(await rulings.rulings_in_force(database, address)),
        tuple(await mail.list_of_sender(database, seen, address, None, _LISTED)),
        fault,
    )


async def _candidates(database: Database, seen: Seen, sender: Sender) -> tuple[tuple[Candidate, ...], str | None]:
    """Find who a sender may be; for who does not see all mail, not by what may stand in others'.

    Nothing is linked to a record that is out of use, such as one whose making was undone: it is not proposed.
    """
    try:
        found = [one for one in await unresolved.find_candidates(database, sender.address) if one.active]
        if seen is None:
            return tuple(found), None
        named = await search.search_records(database, sender.name, None, _NAMED) if sender.name else []
    except DatabaseError as error:
        return (), str(error)
    alike = {
        one.record_id: Candidate(
            one.record_id, one.kind, one.name, one.active, ("has the name of the sender",), one.address
        )
        for one in named
        if one.active and one.name.casefold() == sender.name.casefold()
    }
    own = [
        replace(one, why=why) for one in found if (why := tuple(reason for reason in one.why if reason in _NOT_BY_MAIL))
    ]
    both = {
        one.record_id: replace(one, why=(*alike.pop(one.record_id).why, *one.why))
        for one in own
        if one.record_id in alike
    }
    return (*(both.get(one.record_id, one) for one in own), *alike.values()), None


# What `crm.candidates` tells of the address alone, whatever was written.
_NOT_BY_MAIL: Final = frozenset(("has the address", "has an address of the same domain"))


def _guess(sender: Sender, latest: Mail | None, *, is_public: bool) -> Guess:
    lines: list[str] = []
    own = ""
    if latest is not None and latest.text:
        for mark in latest.marks:
            if mark.kind == "signature":
                lines += latest.text[mark.start : mark.end].splitlines()
        own = latest.text[: min((mark.start for mark in latest.marks), default=None)]
    return guess(sender.name, sender.address, lines, is_public=is_public, text=own)


async def more_of_sender(
    database: Database, seen: Seen, address: str, before: tuple[datetime, UUID] | None, limit: int = _LISTED
) -> tuple[Line, ...]:
    """List the emails of a sender that wait, the latest first, before one of them."""
    return tuple(await mail.list_of_sender(database, seen, subject_of(address), before, limit))


async def open_mail(database: Database, seen: Seen, email_id: UUID) -> Opened:
    """Open a message. Raises UnknownName where there is none that may be seen."""
    found = await mail.read_mail(database, seen, email_id)
    if found is None:
        raise UnknownName(f"there is no email {email_id}")
    thread = await mail.list_thread(database, seen, email_id)
    return Opened(
        found,
        tuple(pieces(found)),
        _denied(found),
        vouching(found.verdict) if found.verdict else None,
        tuple(_FLAGS[one] for one in found.flags if one in _FLAGS),
        tuple(thread),
    )


def pieces(mail: Mail) -> Iterator[Piece]:
    """Cut a text where its marks say that its author did not write it anew, or signed."""
    text, at = mail.text or "", 0
    for mark in sorted(mail.marks):
        if mark.start < at or mark.end > len(text):
            continue
        if own := text[at : mark.start].strip("\n"):
            yield Piece(own, None)
        yield Piece(text[mark.start : mark.end].strip("\n"), mark.kind)
        at = mark.end
    if own := text[at:].strip("\n"):
        yield Piece(own, None)


def _denied(mail: Mail) -> str | None:
    if _DENIED not in mail.flags:
        return None
    told: Sequence[str] = [one for one in mail.reasons if "our server" in one]
    return told[0] if told else "our server says that it is not from the domain in From"
