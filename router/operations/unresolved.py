"""Unresolved senders: who waits, who each may be, and what a person rules on them, and undoes.

A ruling is in force at once, and carried out in pieces by whoever comes first: who ruled, or a router. Whoever was
stopped in between is followed by another.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.errors import DatabaseError, RouterError, UnknownName
from router.model import normalize
from router.repository import rulings, unresolved
from router.repository.database import Database
from router.repository.rulings import Kind, Ruling
from router.repository.unresolved import Candidate, Mail, Waiting

__all__ = [
    "Asked",
    "Candidate",
    "Mail",
    "Refused",
    "Ruling",
    "Shown",
    "Waiting",
    "ask",
    "carry_out",
    "count_waiting",
    "find",
    "list_all",
    "list_rulings",
    "rule",
    "show",
    "subject_of",
    "undo",
]

_MAIL: Final = 20  # emails of a sender that are shown
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


def subject_of(written: str) -> str:
    """Put an address, or @ and a domain, in the form in which rulings name it."""
    written = written.strip()
    return normalize(f"x{written}")[1:] if written.startswith("@") else normalize(written)


async def list_all(
    database: Database, owner: str | None, domain: str | None, limit: int = unresolved.MOST_LISTED
) -> tuple[list[Waiting], list[Waiting]]:
    """List the senders who wait, and their domains, those with most emails first."""
    owner = normalize(owner) if owner else None
    of_domain = subject_of(f"@{domain.removeprefix('@')}")[1:] if domain else None
    senders = await unresolved.list_senders(database, owner, of_domain, limit)
    return senders, await unresolved.list_domains(database, owner, of_domain, limit)


async def show(database: Database, address: str) -> Shown:
    """Show what is known of an address."""
    address = subject_of(address)
    fault = None
    try:
        candidates = await unresolved.find_candidates(database, address)
    except DatabaseError as error:
        candidates, fault = [], str(error)
    return Shown(
        address,
        await unresolved.count_mail(database, address),
        await unresolved.why_unresolved(database, address),
        tuple(await rulings.rulings_in_force(database, address)),
        tuple(candidates),
        tuple(await unresolved.list_mail(database, address, _MAIL)),
        fault,
    )


async def count_waiting(database: Database, subject: str) -> int:
    """Count the promoted emails of an unresolved address, or of @ and a domain: what else could be done with them."""
    return await unresolved.count_mail(database, subject_of(subject))


async def ask(database: Database, subject: str) -> Asked:
    """Say what a ruling on an address, or on @ and a domain, would touch."""
    subject = subject_of(subject)
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


async def undo(database: Database, ruling_id: int | None, by: str) -> Ruling:
    """Undo a ruling; None: the last of this person that is not undone. Raises UnknownName, Refused."""
    if ruling_id is None:
        ruling_id = await rulings.last_of(database, by)
        if ruling_id is None:
            raise UnknownName(f"{by} has made no ruling that is not undone")
    undone = await rulings.undo(database, ruling_id, by)
    if not undone.undone:
        raise Refused(undone.refused or "")
    return await find(database, ruling_id)


async def list_rulings(database: Database, limit: int, *, undone: bool) -> list[Ruling]:
    """List rulings in force, the latest first; with `undone` those, too, that are not in force any more."""
    return await rulings.list_rulings(database, limit=limit, undone=undone)


async def carry_out(database: Database, ruling: Ruling) -> AsyncIterator[int]:
    """Bring the parties of its subject into line with what is in force; after each piece, how many it has touched.

    Ends where all is done, or where what is left is put off: something has it locked, and a router does it later.
    """
    while True:
        if await rulings.carry_out(database, ruling.subject):
            yield await rulings.touched(database, ruling.id)
        elif await rulings.is_due(database, ruling.subject):
            await asyncio.sleep(_PAUSE)  # another process has it at this moment
        else:
            return


async def find(database: Database, ruling_id: int) -> Ruling:
    """Find a ruling by its number. Raises UnknownName."""
    found = await rulings.find_ruling(database, ruling_id)
    if found is None:
        raise UnknownName(f"there is no ruling {ruling_id}")
    return found
