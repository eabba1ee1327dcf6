"""The audit: whether every message that the mail servers hold is accounted for, and bringing in what is not."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from router.errors import Mistake, ProfileErrors, UnknownName
from router.incoming.audit import Auditor
from router.incoming.audited import FolderAudit, MailboxAudit, MissingCopy
from router.incoming.mailboxes import wanted_mailboxes
from router.incoming.turns import Slots
from router.model import Disposition, Owner, Rule, normalize
from router.model.tally import Tally
from router.profile import IncomingProfile, Profiles, Reading
from router.repository.database import Database
from router.repository.owners.owners import ListedOwner, list_owners
from router.repository.processes import list_processes
from router.workers.pool import Workers

ENOUGH: Final = 3
"""Mailboxes of a profile in a row whose server is away: then the rest of them is not asked."""

_AWAY: Final = "not asked, since the server could not be reached for others of the profile"

__all__ = [
    "Disposition",
    "FolderAudit",
    "MailboxAudit",
    "MailboxToAudit",
    "MissingCopy",
    "Plan",
    "Tally",
    "audit",
    "is_any_running",
    "plan",
]


@dataclass(frozen=True, slots=True)
class MailboxToAudit:
    """A mailbox that is to be audited; a forward mailbox has no owner."""

    profile: IncomingProfile
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be audited, in the order of names, and what is left out of it.

    `not_served` are the mailboxes of approved owners that no profile can read, each with the reason as its fault.
    `mistakes` are those of the profiles that are broken, `not_approved` the mailboxes of which nothing is read.
    """

    mailboxes: Sequence[MailboxToAudit]
    not_served: Sequence[MailboxAudit] = ()
    mistakes: Sequence[Mistake] = ()
    not_approved: Sequence[str] = ()


async def is_any_running(database: Database, lease: timedelta) -> bool:
    """Whether any router process is alive, so that what waits is read."""
    return any(one.alive for one in await list_processes(database, lease))


async def plan(database: Database, reading: Reading, name: str | None = None, mailbox: str | None = None) -> Plan:
    """Tell what is to be audited: all that is read, or what one profile reads, or what is one owner's.

    Raises ProfileErrors where no profile is sound; UnknownName where there is no such profile or owner, or nothing of
    it lies on a server.
    """
    if not reading.profiles:
        raise ProfileErrors(reading.mistakes)
    name = name.removeprefix("incoming.") if name else None
    mailbox = normalize(mailbox) if mailbox else None
    listed = await list_owners(database)
    if mailbox:
        _check_owner(listed, mailbox)
    if name:
        _check_profile(reading, name)
    owners = [one.owner for one in listed if one.approved and mailbox in (None, one.mailbox)]
    wanted = wanted_mailboxes(reading.profiles, owners)
    found = [
        MailboxToAudit(*wanted[source])
        for source in sorted(wanted, key=lambda source: (source.profile, source.mailbox))
        if name in (None, source.profile) and mailbox in (None, source.mailbox)
    ]
    not_served = [
        MailboxAudit(profile, owner.mailbox, fault=fault)
        for owner in owners
        if owner.rule is not Rule.NONE
        for profile, fault in _why_not_served(reading.profiles, owner.mailbox)
        if name in (None, profile)
    ]
    if mailbox and not found and not not_served:
        by = f"the profile {name!r}" if name else "any profile"
        raise UnknownName(
            f"the mailbox {mailbox} is not read by {by}: nothing of it lies on a server that could be asked"
        )
    broken = {one.profile for one in not_served} if mailbox else {name} if name else None
    return Plan(
        found,
        not_served,
        _mistakes(reading, broken),
        [one.mailbox for one in listed if not one.approved] if name is None and mailbox is None else (),
    )


def _check_owner(listed: Sequence[ListedOwner], mailbox: str) -> None:
    owner = next((one for one in listed if one.mailbox == mailbox), None)
    if owner is None:
        raise UnknownName(f"no owner has the mailbox {mailbox}")
    if not owner.approved:
        words = f'{mailbox} is not approved, so nothing of it is read: "email-router owners approve {mailbox}"'
        raise UnknownName(words)


def _check_profile(reading: Reading, name: str) -> None:
    found = next((one for one in reading.profiles.incoming if one.name == name), None)
    if found is not None and found.listens:
        raise UnknownName(f"the profile {name!r} is handed its mail: it lies on no server that could be asked")
    if found is not None or ("incoming", name) in reading.broken:
        return
    if reading.strays:
        raise ProfileErrors(reading.strays)  # it may be in a file that cannot be understood
    there = ", ".join(sorted(one.name for one in reading.profiles.incoming)) or "none"
    raise UnknownName(f"there is no incoming profile {name!r}; there are {there}")


def _why_not_served(profiles: Profiles, mailbox: str) -> Iterator[tuple[str, str]]:
    """Name the profiles that would serve a mailbox and cannot, each with the reason."""
    routes = profiles.routes_of(mailbox)
    broken = [one.name for one in routes.broken if one.direction == "incoming"]
    yield from ((name, "the profile is broken") for name in broken)
    if not broken and not routes.incoming:
        yield "", "no profile serves it"


def _mistakes(reading: Reading, names: Collection[str] | None) -> list[Mistake]:
    """Name the mistakes of these incoming profiles, or all that keep any mail from being read."""
    of_profiles = [
        mistake
        for (direction, name), mistakes in reading.broken.items()
        if direction == "incoming" and (names is None or name in names)
        for mistake in mistakes
    ]
    return sorted({*of_profiles, *(reading.strays if names is None else ())})


async def audit(
    database: Database,
    workers: Workers,
    mailboxes: Sequence[MailboxToAudit],
    *,
    repair: bool = False,
    tell: Callable[[MailboxAudit], None] = lambda _: None,
) -> AsyncIterator[MailboxAudit]:
    """Audit these mailboxes, one after the other; each as soon as it is done.

    `tell` is called after each page of at most 500 messages. With `repair` what is missing is brought in. An audit that
    is interrupted is taken up by the next, within six hours. Where the server of a profile cannot be reached for a few
    mailboxes in a row, its others are not asked, which is a fault of each. Raises DatabaseError.
    """
    away: Counter[str] = Counter()  # mailboxes in a row, by profile
    for one in mailboxes:
        name = one.profile.name
        auditor = Auditor(database, workers, one.profile, one.owner, Slots(1), repair=repair, tell=tell)
        if away[name] < ENOUGH:
            await auditor.run()
            away[name] = away[name] + 1 if auditor.audit.unreachable else 0
        else:
            auditor.audit.fault = _AWAY
        yield auditor.audit
