"""Owners: whose mail is tracked, by which rule, and which profiles serve them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from router.errors import Mistake, RouterError
from router.model import Rule, ServedProfile, normalize
from router.operations import served
from router.profile import check_owners
from router.profile.routes import Routes
from router.profile.served import ServedProfiles
from router.repository import owners
from router.repository.database import Database
from router.repository.owners import ListedOwner, WithoutMailbox


@dataclass(frozen=True, slots=True)
class ServedOwner:
    """An owner, approved or not, and the profiles that serve the mailbox."""

    mailbox: str
    name: str
    approved: bool
    rule: Rule | None
    routes: Routes[ServedProfile, ServedProfile]

    @property
    def default_rules(self) -> Sequence[Rule]:
        """The rules of the profiles that bring the owner's mail; they hold where the owner has none."""
        rules = [one.tracking_rule for one in self.routes.incoming if one.tracking_rule is not None]
        return list(dict.fromkeys(rules))


@dataclass(frozen=True, slots=True)
class Owners:
    """Owners, and what is wrong: `notes` with how they are served, `mistakes` in the profile folder."""

    owners: Sequence[ServedOwner]
    without_mailbox: Sequence[WithoutMailbox] = ()
    notes: Sequence[Mistake] = ()
    mistakes: Sequence[Mistake] = ()


async def list_all(database: Database, lease: timedelta, folder: Path) -> Owners:
    """List every owner; whom the running processes serve or, where none runs, the profiles of the folder."""
    serving = await served.read(database, lease, folder)
    listed = await owners.list_owners(database)
    return _described(listed, serving, await owners.list_without_mailbox(database))


async def approve(
    database: Database, mailboxes: Sequence[str], lease: timedelta, folder: Path, *, approved: bool = True
) -> tuple[Owners, Sequence[str]]:
    """Approve mailboxes, or take that back. Returns those that could be, and why the others could not."""
    faults = []
    for mailbox in mailboxes:
        try:
            await owners.approve(database, mailbox, approved=approved)
        except RouterError as error:
            faults.append(f"{mailbox}: {error}")
    found = await owners.find_owners(database, [normalize(mailbox) for mailbox in mailboxes])
    done = sorted((one for one in found.values() if one.approved is approved), key=lambda one: one.mailbox)
    return _described(done, await served.read(database, lease, folder)), faults


async def set_rule(database: Database, mailbox: str, rule: Rule | None, lease: timedelta, folder: Path) -> Owners:
    """Set an owner's tracking rule; None: the profile's default. Raises DatabaseError where there is no such owner."""
    await owners.set_rule(database, mailbox, rule)
    found = await owners.find_owners(database, [normalize(mailbox)])
    return _described(list(found.values()), await served.read(database, lease, folder))


def _described(
    listed: Sequence[ListedOwner], serving: served.Served, without_mailbox: Sequence[WithoutMailbox] = ()
) -> Owners:
    return Owners(
        [
            ServedOwner(one.mailbox, one.name, one.approved, one.rule, serving.profiles.routes_of(one.mailbox))
            for one in listed
        ],
        without_mailbox,
        _notes(listed, serving.profiles),
        serving.mistakes,
    )


def _notes(listed: Sequence[ListedOwner], profiles: ServedProfiles) -> Sequence[Mistake]:
    """Nothing, where there is no profile at all: that is told already."""
    return check_owners(profiles, listed) if any(one.direction == "incoming" for one in profiles.all) else []
