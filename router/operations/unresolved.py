"""Unresolved senders: who waits, who each may be, and what a person rules on them, and undoes.

A ruling is in force at once, and carried out in pieces by whoever comes first: who ruled, or a router. Whoever was
stopped in between is followed by another.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from router.errors import DatabaseError, RouterError, UnknownName
from router.model import normalize
from router.operations import never_track
from router.operations.settings import owner_of
from router.repository.database import Database
from router.repository.records import records
from router.repository.rulings import ruling_walks, rulings, unresolved
from router.repository.rulings.rulings import Kind, Ruling
from router.repository.rulings.subjects import NO_SENDER, address_of
from router.repository.rulings.unresolved import Candidate, Mail, Waiting, WaitingMail

__all__ = [
    "NO_SENDER",
    "Asked",
    "Candidate",
    "Mail",
    "NeverTracked",
    "Refused",
    "Ruling",
    "Shown",
    "Waiting",
    "WaitingMail",
    "address_of",
    "ask",
    "ask_of_owner",
    "carry_out",
    "carry_out_some",
    "count_waiting",
    "find",
    "list_all",
    "list_rulings",
    "list_waiting",
    "named",
    "never_track_sender",
    "never_tracked_subject",
    "reasons",
    "rule",
    "show",
    "subject_of",
    "undo",
]

_MAIL: Final = 20  # emails of a sender that are shown
_ONE_PIECE: Final = 3.0  # seconds that a piece may take longer, where the CRM's SQL is slow, before it is a router's
_PAUSE: Final = 0.05  # seconds between two looks at what another process carries out


class Refused(RouterError):
    """What a person cannot rule, as where somebody else has ruled meanwhile; the words say who, and what."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of an address: why its mail waits, what is in force, who it may be, and its latest mail.

    `fault` says why there are no candidates, where they could not be looked for.
    """

    address: str
    waiting: int
    reason: str
    in_force: tuple[Ruling, ...]
    candidates: tuple[Candidate, ...]
    mail: tuple[Mail, ...]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a ruling on a subject would touch, and which is in force on just that subject."""

    subject: str
    waiting: int
    parties: int
    in_force: Ruling | None


@dataclass(frozen=True, slots=True)
class NeverTracked:
    """Who is never tracked from now on: for whom, None: the organization; whether that is new.

    `ruling` is the one by which the sender has left the queue; None: for one owner alone, nobody leaves it.
    """

    pattern: str
    mailbox: str | None
    is_new: bool
    ruling: Ruling | None


def subject_of(written: str) -> str:
    """Put an address, or @ and a domain, in the form in which rulings name it; <>: mail that names no sender."""
    written = written.strip()
    if written == NO_SENDER:
        return written
    return normalize(f"x{written}")[1:] if written.startswith("@") else normalize(written)


def named(subject: str) -> str:
    """Name the subject of a ruling to a person."""
    return "mail without a sender" if subject == NO_SENDER else subject


async def list_all(
    database: Database, owner: str | None, domain: str | None, limit: int = unresolved.MOST_LISTED
) -> tuple[list[Waiting], list[Waiting]]:
    """List the senders who wait, and their domains, those with most emails first."""
    owner = normalize(owner) if owner else None
    of_domain = subject_of(f"@{domain.removeprefix('@')}")[1:] if domain else None
    senders = await unresolved.list_senders(database, owner, of_domain, limit)
    return senders, await unresolved.list_domains(database, owner, of_domain, limit)


async def list_waiting(
    database: Database,
    *,
    owner: str | None,
    domain: str | None,
    address: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[WaitingMail]:
    """List the emails that wait, the latest first, of an owner, a domain and an address where these are named."""
    return await unresolved.list_waiting(
        database,
        normalize(owner) if owner else None,
        subject_of(f"@{domain.removeprefix('@')}")[1:] if domain else None,
        normalize(address) if address else None,
        before,
        limit,
    )


async def show(database: Database, address: str) -> Shown:
    """Show what is known of an address."""
    address = address_of(subject_of(address))
    [reason] = await unresolved.why_unresolved(database, [address])
    fault = None
    try:
        candidates = await unresolved.find_candidates(database, address)
    except DatabaseError as error:
        candidates, fault = [], str(error)
    return Shown(
        address,
        await unresolved.count_mail(database, address),
        reason,
        tuple(await rulings.rulings_in_force(database, address)),
        tuple(candidates),
        tuple(await unresolved.list_mail(database, address, _MAIL)),
        fault,
    )


async def reasons(database: Database, addresses: Sequence[str]) -> list[str]:
    """Say of each of these senders why their mail waits."""
    return await unresolved.why_unresolved(database, addresses)


async def count_waiting(database: Database, subject: str) -> int:
    """Count the promoted emails of an unresolved address, or of @ and a domain: what else could be done with them."""
    return await unresolved.count_mail(database, subject_of(subject))


async def ask(database: Database, subject: str, record_id: UUID | None = None) -> Asked:
    """Say what a ruling on an address, or on @ and a domain, would touch.

    Raises UnknownName where there is no such record that the sender could be.
    """
    subject = subject_of(subject)
    if record_id is not None:
        found = await records.read(database, record_id)
        if found is None or not found.active:
            raise UnknownName(f"there is no active record {record_id}")
    in_force = [one for one in await rulings.rulings_in_force(database, subject) if one.subject == subject]
    return Asked(
        subject,
        await unresolved.count_mail(database, subject),
        await unresolved.count_parties(database, subject),
        in_force[0] if in_force else None,
    )


async def rule(database: Database, subject: str, record_id: UUID | None, by: str, expected: int | None) -> Ruling:
    """Rule that an address, or @ and a domain, is a record; or, with None, that nobody has to say who it is.

    `expected` is the ruling in force that this one replaces, as the person knows it. Raises Refused.
    """
    kind: Kind = "resolve" if record_id else "ignore-sender"
    made = await rulings.rule(database, kind, subject_of(subject), record_id, by, expected)
    if made.ruling_id is None:
        raise Refused(made.refused or "")
    return await find(database, made.ruling_id)


def never_tracked_subject(written: str) -> str:
    """Read an address, or a domain with or without @, as a subject of rulings. Raises UnknownName."""
    written = written.strip()
    if written.startswith("*."):
        raise UnknownName(f"a ruling is on one domain: \"email-router never-track add '{written}'\" takes all below it")
    return subject_of(f"@{never_track.parse_new(written.removeprefix('@'))}" if _is_domain(written) else written)


def _is_domain(written: str) -> bool:
    return "@" not in written.removeprefix("@")


async def ask_of_owner(database: Database, subject: str, mailbox: str | None) -> Asked:
    """Say what never tracking a subject would touch: for an owner, only what waits in that mailbox. Raises UnknownName.

    Only for the organization there is a ruling.
    """
    if mailbox is None:
        return await ask(database, subject)
    owner = await owner_of(database, mailbox)
    assert owner is not None
    return Asked(subject, await unresolved.count_mail(database, subject, owner.owner.id), 0, None)


async def never_track_sender(
    database: Database, subject: str, mailbox: str | None, by: str, expected: int | None
) -> NeverTracked:
    """Ignore a sender's mail from now on. For the organization, nobody has to say either who it is, as by `rule`.

    Both or neither: a sender who has left the queue is not found there again. Raises Refused, UnknownName.
    """
    if mailbox:
        pattern, is_new = await never_track.add(database, subject.removeprefix("@"), mailbox, by)
        return NeverTracked(pattern, mailbox, is_new, None)
    pattern = never_track.parse_new(subject.removeprefix("@"))
    made, is_new = await rulings.rule_never(database, subject_of(subject), pattern, by, expected)
    if made.ruling_id is None:
        raise Refused(made.refused or "")
    return NeverTracked(pattern, None, is_new, await find(database, made.ruling_id))


async def undo(database: Database, ruling_id: int | None, by: str) -> Ruling:
    """Undo a ruling; None: the last of this person that is not undone. Raises UnknownName, Refused.

    All is as it was before, but for what somebody changed since. What was made together with the ruling goes, too: its
    entry of the never-track list; its record, out of use and without the address. Where that has been used since, it
    stays, and `kept` of the ruling says so.
    """
    if ruling_id is None:
        ruling_id = await rulings.last_of(database, by)
        if ruling_id is None:
            raise Refused(f"{by} has made no ruling that is not undone")
    refused = await rulings.undo(database, ruling_id, by)
    if refused is not None:
        raise Refused(refused)
    return await find(database, ruling_id)


async def list_rulings(database: Database, limit: int, *, undone: bool, before: int | None = None) -> list[Ruling]:
    """List rulings in force, the latest first; with `undone` those, too, that are not in force any more.

    With `before` those that are older than this one.
    """
    return await rulings.list_rulings(database, limit=limit, undone=undone, before=before)


async def carry_out(database: Database, ruling: Ruling) -> AsyncIterator[int]:
    """Bring the parties of its subject into line with what is in force; after each piece, how many it has touched.

    Ends where all is done, or where what is left is put off: something has it locked, and a router does it later.
    """
    while True:
        if await ruling_walks.carry_out(database, ruling.subject):
            yield await rulings.touched(database, ruling.id)
        elif await ruling_walks.is_due(database, ruling.subject):
            await asyncio.sleep(_PAUSE)  # another process has it at this moment
        else:
            return


async def carry_out_some(database: Database, ruling: Ruling, seconds: float) -> Ruling:
    """Carry out what can be done now, for about so long, and tell how it is by then; what is left, a router does.

    The ruling is in force, or undone, whatever becomes of that: nothing is raised, which would say otherwise.
    """
    until = asyncio.get_running_loop().time() + seconds
    with suppress(DatabaseError, TimeoutError):
        async with asyncio.timeout(seconds + _ONE_PIECE):
            while await ruling_walks.carry_out(database, ruling.subject) and asyncio.get_running_loop().time() < until:
                pass
            return await find(database, ruling.id)
    return ruling


async def find(database: Database, ruling_id: int) -> Ruling:
    """Find a ruling by its number. Raises UnknownName."""
    found = await rulings.find_ruling(database, ruling_id)
    if found is None:
        raise UnknownName(f"there is no ruling {ruling_id}")
    return found
