"""Owners: whose mail is tracked, by which rule, and which profiles serve them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from router.errors import Mistake, RouterError, UnknownName
from router.model import Rule, ServedProfile, normalize
from router.model.settings import ALLOWED_RULES, RULE, SETTINGS, Choices
from router.operations import served
from router.operations.settings import faults_of, refuse_rule, rule_notes
from router.profile import check_owners
from router.profile.routes import Routes
from router.profile.served import ServedProfiles
from router.repository.database import Database
from router.repository.owners import owners
from router.repository.owners.choices import read_stored
from router.repository.owners.owners import ListedOwner, WithoutMailbox


@dataclass(frozen=True, slots=True)
class ServedOwner:
    """An owner, approved or not, and the profiles that serve the mailbox.

    `rule_by` and `rule_at` tell who chose the owner's own rule, and when, where that is known.
    """

    mailbox: str
    name: str
    approved: bool
    rule: Rule | None
    routes: Routes[ServedProfile, ServedProfile]
    rule_by: str | None = None
    rule_at: datetime | None = None

    @property
    def default_rules(self) -> Sequence[Rule]:
        """The rules of the profiles that bring the owner's mail; they hold where the owner has none."""
        rules = [one.tracking_rule for one in self.routes.incoming if one.tracking_rule is not None]
        return list(dict.fromkeys(rules))


@dataclass(frozen=True, slots=True)
class Owners:
    """Owners, and what is wrong: `notes` with how they are served, `mistakes` in the profile folder.

    `locked_rule` is the rule that the organization has locked for all, `allowed_rules` are those that it allows;
    `locked_by` and `locked_at` tell who locked it. `after` is where the next page begins, None: there is none.
    """

    owners: Sequence[ServedOwner]
    without_mailbox: Sequence[WithoutMailbox] = ()
    notes: Sequence[Mistake] = ()
    mistakes: Sequence[Mistake] = ()
    locked_rule: str | None = None
    allowed_rules: Sequence[str] = tuple(Rule)
    locked_by: str | None = None
    locked_at: datetime | None = None
    after: str | None = None


async def list_all(database: Database, lease: timedelta, folder: Path) -> Owners:
    """List every owner; whom the running processes serve or, where none runs, the profiles of the folder."""
    serving = await served.read(database, lease, folder)
    listed = await owners.list_owners(database)
    return await _described(database, listed, serving, await owners.list_without_mailbox(database))


async def list_page(
    database: Database,
    lease: timedelta,
    folder: Path,
    *,
    after: str = "",
    search: str = "",
    approved: bool | None = None,
    limit: int = 100,
) -> Owners:
    """List owners by mailbox, a page at a time: those after this mailbox, with this in mailbox or name.

    Those without a mailbox are on the first page, unless something is searched.
    """
    serving = await served.read(database, lease, folder)
    found = await owners.list_page(database, after, search.strip(), limit + 1, approved=approved)
    shown = found[:limit]
    first = not (after or search or approved)
    described = await _described(database, shown, serving, await owners.list_without_mailbox(database) if first else ())
    return replace(described, after=shown[-1].mailbox if len(found) > limit else None)


async def find_id(database: Database, mailbox: str) -> UUID:
    """Find the owner of a mailbox. Raises UnknownName."""
    found = await owners.find_owners(database, [normalize(mailbox)])
    if not found:
        raise UnknownName(f"no owner has the mailbox {normalize(mailbox)}")
    return next(iter(found.values())).owner.id


async def approve(
    database: Database,
    mailboxes: Sequence[str],
    lease: timedelta,
    folder: Path,
    by: str,
    *,
    approved: bool = True,
) -> tuple[Owners, Sequence[str]]:
    """Approve mailboxes, or take that back. Returns those that could be, and why the others could not."""
    faults = []
    for mailbox in mailboxes:
        try:
            await owners.approve(database, mailbox, by, approved=approved)
        except RouterError as error:
            faults.append(f"{mailbox}: {error}")
    found = await owners.find_owners(database, [normalize(mailbox) for mailbox in mailboxes])
    done = sorted((one for one in found.values() if one.approved is approved), key=lambda one: one.mailbox)
    return await _described(database, done, await served.read(database, lease, folder)), faults


async def set_rule(
    database: Database, mailbox: str, rule: Rule | None, by: str, lease: timedelta, folder: Path
) -> Owners:
    """Set an owner's tracking rule; None: the profile's default.

    Raises DatabaseError where there is no such owner, or the organization does not allow it.
    """
    await refuse_rule(database, rule)
    await owners.set_rule(database, mailbox, rule, by)
    found = await owners.find_owners(database, [normalize(mailbox)])
    return await _described(database, list(found.values()), await served.read(database, lease, folder))


async def _described(
    database: Database,
    listed: Sequence[ListedOwner],
    serving: served.Served,
    without_mailbox: Sequence[WithoutMailbox] = (),
) -> Owners:
    stored = await read_stored(database, [one.mailbox for one in listed])
    choices = stored.choices
    locked, allowed = choices.of(RULE), choices.of(ALLOWED_RULES)
    locked_by, locked_at = stored.by.get(RULE.name, (None, None)) if locked.locked else (None, None)
    return Owners(
        [
            ServedOwner(
                one.mailbox,
                one.name,
                one.approved,
                one.rule,
                serving.profiles.routes_of(one.mailbox),
                *stored.own.get(one.owner.id, {}).get(RULE.name, (None, None)),
            )
            for one in listed
        ],
        without_mailbox,
        [
            *_notes(listed, serving.profiles),
            *_rule_notes(choices, listed, serving.profiles, locked=locked.locked),
            *(Mistake("", 0, fault) for setting in SETTINGS.values() for fault in faults_of(choices, listed, setting)),
        ],
        serving.mistakes,
        str(locked.value) if locked.locked else None,
        allowed.words,
        locked_by,
        locked_at,
    )


def _rule_notes(
    choices: Choices, listed: Sequence[ListedOwner], profiles: ServedProfiles, *, locked: bool
) -> Iterator[Mistake]:
    """Tell of owners and profiles whose rule the organization does not allow; nothing while it locks the rule."""
    if locked:
        return
    yield from rule_notes(choices, ((f"owner {one.mailbox}", one.rule) for one in listed))
    yield from rule_notes(choices, ((one.title, one.tracking_rule) for one in profiles.all))


def _notes(listed: Sequence[ListedOwner], profiles: ServedProfiles) -> Sequence[Mistake]:
    """Nothing, where there is no profile at all: that is told already."""
    return check_owners(profiles, listed) if any(one.direction == "incoming" for one in profiles.all) else []
