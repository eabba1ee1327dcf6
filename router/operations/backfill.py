"""Bringing in the past of mailboxes, by today's rules."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date

from router.errors import ProfileErrors, UnknownName
from router.incoming.backfill import Backfill, Backfilled
from router.model import Owner, Rule
from router.operations import audit
from router.operations.audit import MailboxToAudit
from router.profile import IncomingProfile, Reading
from router.repository.database import Database
from router.workers.pool import Workers

__all__ = ["Backfilled", "Mailbox", "backfill", "find"]

Mailbox = tuple[IncomingProfile, Owner]


async def find(database: Database, reading: Reading, name: str, mailbox: str | None = None) -> Sequence[Mailbox]:
    """Find the mailboxes that a profile reads, or the one of an owner.

    Raises UnknownName where there is no such profile or owner, or nothing that has a past to bring in; ProfileErrors
    where the profile is broken.
    """
    plan = await audit.plan(database, reading, name, mailbox)
    if plan.mistakes:
        raise ProfileErrors(plan.mistakes)
    found = [(one.profile, one.owner) for one in plan.mailboxes if one.owner is not None and _has_past(one)]
    if not found:
        raise UnknownName(_why_none(name, plan.mailboxes))
    return found


def _has_past(one: MailboxToAudit) -> bool:
    """Whether anything of a mailbox can be wanted."""
    return one.owner is not None and (one.owner.rule or one.profile.tracking_rule) is not Rule.NONE


def _why_none(name: str, mailboxes: Sequence[MailboxToAudit]) -> str:
    if any(one.owner is None for one in mailboxes):
        words = 'start = "all" reads such a mailbox from its beginning'
        return f"the profile {name!r} reads a mailbox that is nobody's own: {words}"
    if mailboxes:
        return "the rule is none, so nothing is brought in"
    return f"the profile {name!r} reads no mailbox of an approved owner"


async def backfill(
    database: Database,
    workers: Workers,
    mailboxes: Sequence[Mailbox],
    since: date,
    by: str,
    *,
    rehearsed: bool = False,
    tell: Callable[[Backfilled], None] = lambda _: None,
) -> AsyncIterator[Backfilled]:
    """Bring in what came to these mailboxes since a day (in UTC), one after the other; each as soon as it is done.

    `rehearsed`: nothing is stored, it is only told what would become of it. `tell` is called after each page of at most
    500 messages. What is interrupted is taken up where it was, by the next with the same day. Raises DatabaseError.
    """
    for profile, owner in mailboxes:
        yield await Backfill(database, workers, profile, owner, since, by, rehearsed=rehearsed, tell=tell).run()
