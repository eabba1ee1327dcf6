"""Where a message is that somebody asks for: what became of it; or, if the CRM has none, why that may be.

clues    what is known of the mailboxes in which mail that the CRM does not have would have been seen
asking   what their mail servers have of it
kept     which held and dead mail it is
found    all of these as values
pending  why email that the CRM wrote is not sent yet
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from router.operations.trace import kept
from router.operations.trace.asking import Asker
from router.operations.trace.clues import clues_of, general_clues
from router.operations.trace.found import Asked, Clue, Concerned, Lying
from router.operations.trace.pending import waits_for
from router.operations.words import count
from router.profile import Profiles
from router.repository.database import Database
from router.repository.owners.owners import ListedOwner, list_approved
from router.repository.trace.trace import EVERYTHING, CopyFound, EmailFound, Sought, Within, find_emails
from router.repository.trace.unseen import owners_of
from router.workers.pool import Workers

__all__ = [
    "Asked",
    "Clue",
    "Concerned",
    "CopyFound",
    "EmailFound",
    "Lying",
    "Sought",
    "Traced",
    "Within",
    "ask",
    "look_into_letters",
    "trace",
]

_MOST_OWNERS: Final = 20  # whose mailboxes are told of, and asked: a domain can have thousands


@dataclass(frozen=True, slots=True)
class Traced:
    """What is known of the mail that was sought, the newest first.

    `more`: there are more emails than were asked for. `owners` are those in whose mailboxes it would be, first where
    something is wrong, and `other_owners` how many more they are; `clues` are of no one mailbox. All are only looked
    for where no email was found, or the servers are to be asked; and of one email that waits to be sent, `clues` tell
    what for.
    """

    sought: Sought
    emails: Sequence[EmailFound]
    more: bool = False
    clues: Sequence[Clue] = ()
    owners: Sequence[Concerned] = ()
    other_owners: int = 0

    @property
    def in_crm(self) -> bool:
        """Whether the CRM has it, perhaps as an email that does not say what was sought."""
        return bool(self.emails) or (self._missed is not None and self._missed[1].email_id is not None)

    @property
    def _missed(self) -> tuple[Concerned, Lying] | None:
        """The copy on a mail server that is most likely the one that is missed: one that is not in the CRM, if any."""
        lying = [(one, copy) for one in self.owners if one.asked for copy in one.asked.copies]
        return min(lying, key=lambda one: one[1].email_id is not None, default=None)

    @property
    def answer(self) -> str:
        """The surest that can be said, in a line."""
        if self.emails:
            return _found(self)
        if self._missed is not None:
            owner, copy = self._missed
            if copy.email_id:
                return f"in the CRM as email {copy.email_id}, which does not say what was sought"
            return f"not in the CRM: it lies in {copy.folder} of {owner.mailbox}: {copy.words}"
        return f"not in the CRM{self._why_not}"

    @property
    def not_in_crm(self) -> int:
        """How many copies lie on mail servers that are no emails of the CRM."""
        return sum(copy.email_id is None for one in self.owners if one.asked for copy in one.asked.copies)

    @property
    def _not_known(self) -> str:
        """Why it is not known whether a mail server has it, where one could not be asked."""
        faults = [one.asked.fault for one in self.owners if one.approved and one.asked and one.asked.fault]
        return f"; whether it lies on the server is not known: {faults[0]}" if faults else ""

    @property
    def _why_not(self) -> str:
        """Why the CRM does not have it, as far as that is known, where no mail server was found to have it."""
        clues = [(one, clue) for one in self.owners for clue in one.clues]
        for owner, clue in clues:
            if clue.kind in ("is held", "is dead"):
                return f": {owner.mailbox}: {clue.words}"
        why = [clue.words for clue in self.clues if clue.blocks]
        why += [f"{owner.mailbox}: {clue.words}" for owner, clue in clues if clue.blocks]
        if why:
            return f", perhaps because of this: {why[0]}{self._not_known}"
        asked = [one.asked for one in self.owners if one.asked]
        if asked and all(one.certain for one in asked):
            # By parts of words nothing is looked for, lest anybody's mail be found.
            words = self.sought.words
            return f", and the mail server {'has nothing with these as whole words' if words else 'does not have it'}"
        if any(clue.kind in ("held", "dead", "ignored") for _, clue in clues):
            return f"; it may be among the mail of that time that was ignored, is held or dead{self._not_known}"
        return self._not_known or ", and nothing else is known of it"


def _found(traced: Traced) -> str:
    if len(traced.emails) > 1 or traced.more or traced.not_in_crm:
        words = f"in the CRM: {'more than ' if traced.more else ''}{count(len(traced.emails), 'email')}"
        return words + (f"; {traced.not_in_crm} more lie on the server, not in the CRM" if traced.not_in_crm else "")
    [email] = traced.emails
    if email.direction == "in":
        return "in the CRM"
    why = next((f", because {clue.words}" for clue in traced.clues if clue.blocks), "")
    return f"in the CRM, outgoing: {email.status}{why}"


async def trace(
    database: Database,
    lease: timedelta,
    folder: Path,
    sought: Sought,
    *,
    kept_for: timedelta,
    limit: int,
    why: bool,
    anywhere: bool = False,
    within: Within = EVERYTHING,
) -> Traced:
    """Find mail, and if there is none in the CRM, what may be the reason; with `why`, in any case.

    The reason is looked for in the mailboxes that are named. With `why` or `anywhere`, where none is named, it is
    looked for in some of all of them.
    `lease` is the time after which a silent process is dead, `folder` that of the profiles; decisions are kept for
    `kept_for`. Nothing is told of what `within` leaves out, nor of how other mailboxes are served.
    """
    recipients = _seen(await owners_of(database, sought.recipient), within) if sought.recipient else []
    emails, more = await find_emails(database, sought, [one.owner.id for one in recipients], limit, within)
    if emails and not why:
        waits = await waits_for(database, lease, folder, emails[0]) if len(emails) == 1 else []
        return Traced(sought, emails, more, waits)
    senders = _seen(await owners_of(database, sought.sender), within) if sought.sender else []
    now = datetime.now(UTC)
    general, serving = await general_clues(database, lease, folder, sought, now - kept_for, owned=bool(recipients))
    if within.owners is not None:
        # The others name mailboxes of others, or tell that there is mail of theirs.
        general = [one for one in general if one.kind in ("no process", "pruned")]
    others = 0
    if (why or anywhere) and not (recipients or senders or sought.recipient or sought.email_id):
        # In nobody's mailbox in particular.
        recipients, number = await list_approved(database, within.owners, _MOST_OWNERS)
        others = number - len(recipients)
    owners = await clues_of(database, lease, serving, sought, recipients, senders)
    owners.sort(key=lambda one: not any(clue.blocks for clue in one.clues))
    others += max(0, len(owners) - _MOST_OWNERS)
    return Traced(sought, emails, more, general, owners[:_MOST_OWNERS], others)


def _seen(owners: Sequence[ListedOwner], within: Within) -> list[ListedOwner]:
    return [one for one in owners if within.owners is None or one.owner.id in within.owners]


async def look_into_letters(database: Database, workers: Workers, traced: Traced) -> Traced:
    """Tell whether what is held or dead in the owners' mailboxes is what was sought."""
    return replace(traced, owners=await kept.look_into_letters(database, workers, traced.owners, traced.sought))


async def ask(database: Database, workers: Workers, profiles: Profiles, traced: Traced) -> Traced:
    """Ask the mail servers of the owners for what was sought. What a server says instead of an answer is a fault."""
    owners = await Asker(database, workers, profiles, traced.sought).ask(traced.owners)
    return replace(traced, owners=[_in_view_of(traced.emails, one) for one in owners])


def _in_view_of(emails: Sequence[EmailFound], owner: Concerned) -> Concerned:
    """Leave out what is told already, and what does not matter for what was found."""
    if owner.asked is None:
        return owner
    ids = {one.id for one in emails}
    above = "it is the email above" if len(ids) == 1 else "it is one of the emails above"
    copies = tuple(replace(one, words=above) if one.email_id in ids else one for one in owner.asked.copies)
    begins = [one.begins_at for one in owner.readers if one.begins_at]
    came_since = copies and all(one.received_at >= max(begins, default=one.received_at) for one in copies)
    clues = tuple(one for one in owner.clues if not (came_since and one.kind == "before start"))
    return replace(owner, clues=clues, asked=replace(owner.asked, copies=copies))
