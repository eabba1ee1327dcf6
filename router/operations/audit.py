"""The audit: whether every message that the mail servers hold is accounted for, and bringing in what is not."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from router.errors import UnknownName
from router.incoming.audit import Auditor
from router.incoming.mailboxes import Wanted, wanted_mailboxes
from router.incoming.tallies import FolderAudit, MailboxAudit, MissingCopy
from router.incoming.turns import Slots
from router.model import Disposition, Owner, normalize
from router.model.audit import Tally
from router.profile import IncomingProfile, Profiles
from router.repository.database import Database
from router.repository.owners import list_owners
from router.workers.pool import Workers

ENOUGH: Final = 3
"""Mailboxes of a profile in a row whose server is away: then the rest of them is not asked."""

_AWAY: Final = "not asked, since the server could not be reached for others of the profile"

__all__ = ["Asked", "Disposition", "FolderAudit", "MailboxAudit", "MissingCopy", "Tally", "asked_of", "audit"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A mailbox that is to be audited; a forward mailbox has no owner."""

    profile: IncomingProfile
    owner: Owner | None


async def asked_of(
    database: Database, profiles: Profiles, name: str | None = None, mailbox: str | None = None
) -> Sequence[Asked]:
    """Name the mailboxes that are read, all of them or those of one profile and of one owner, in the order of names.

    Raises UnknownName where there is no such profile, or nobody reads the owner's mailbox.
    """
    owners = [listed.owner for listed in await list_owners(database) if listed.approved]
    wanted = wanted_mailboxes(profiles, owners)
    if name is not None:
        wanted = _of_profile(profiles, wanted, name)
    if mailbox is not None:
        mailbox = normalize(mailbox)
        wanted = {source: one for source, one in wanted.items() if source.mailbox == mailbox}
        if not wanted:
            by = f"the profile {name!r}" if name else "any profile"
            raise UnknownName(f"no mailbox of an approved owner {mailbox} is read by {by}")
    in_order = sorted(wanted, key=lambda source: (source.profile, source.mailbox))
    return [Asked(*wanted[source]) for source in in_order]


def _of_profile(profiles: Profiles, wanted: Wanted, name: str) -> Wanted:
    named = name.removeprefix("incoming.")
    found = next((one for one in profiles.incoming if one.name == named), None)
    if found is None:
        there = ", ".join(sorted(one.name for one in profiles.incoming)) or "none"
        raise UnknownName(f"there is no incoming profile {name!r}; there are {there}")
    if found.listens:
        raise UnknownName(f"the profile {name!r} is handed its mail: it lies on no server that could be asked")
    return {source: one for source, one in wanted.items() if one[0] == found}


async def audit(
    database: Database,
    workers: Workers,
    asked: Sequence[Asked],
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
    for one in asked:
        name = one.profile.name
        auditor = Auditor(database, workers, one.profile, one.owner, Slots(1), repair=repair, tell=tell)
        if away[name] < ENOUGH:
            await auditor.run()
            away[name] = away[name] + 1 if auditor.audit.unreachable else 0
        else:
            auditor.audit.fault = _AWAY
        yield auditor.audit
