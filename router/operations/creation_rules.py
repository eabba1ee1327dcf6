"""The rules for records from mail, of the database and of profiles, in the order in which they count."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from router.errors import Mistake, ProfileErrors
from router.model import CreationRule
from router.model.creation import DATABASE, rules_of
from router.operations.settings import owner_of
from router.profile import IncomingProfile
from router.profile.rules_file import faults_of
from router.profile.served import ServedProfiles, read_clear, read_written, served
from router.repository.database import Database
from router.repository.records import creation_rules as repository
from router.repository.records.creation_rules import StoredRule


@dataclass(frozen=True, slots=True)
class ListedRule:
    """A rule, and where it is kept: `the database`, or `profile NAME`.

    `rule` is None where the database has one that says none: `faults` tell why, and it is passed over. `position`, `by`
    and `at` are those of the database. `note` says what makes it fit no mail.
    """

    name: str
    kept_in: str
    rule: CreationRule | None
    active: bool = True
    position: int | None = None
    by: str | None = None
    at: datetime | None = None
    faults: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """Rules in their order, and why those of some profiles of the folder are not known."""

    rules: Sequence[ListedRule]
    mistakes: Sequence[Mistake]


async def list_rules(database: Database, folder: Path, mailbox: str | None) -> Listed:
    """List the rules: those of the database, and then each profile's of the folder.

    Of an owner's mailbox, only those that are in force there. Raises UnknownName where no owner has it.
    """
    owner = await owner_of(database, mailbox)
    stored = await repository.read_rules(database)
    profiles, mistakes = await asyncio.to_thread(_read, folder)
    if owner is None:
        rules = [*map(_listed, stored), *(_of_profile(rule) for one in profiles for rule in one.creation_rules)]
        return Listed(rules, mistakes)
    is_queue = await repository.is_queue(database, owner.owner.id)
    serving = {one.name for one in ServedProfiles(map(served, profiles)).routes_of(owner.mailbox).incoming}
    here = [one for one in stored if one.active and (owner.mailbox in one.owners or (is_queue and not one.owners))]
    of_profiles = [
        rule
        for one in profiles
        if one.name in serving
        for rule in rules_of(one.creation_rules, owner.mailbox)
        if rule.owners or is_queue
    ]
    return Listed([*map(_listed, here), *map(_of_profile, of_profiles)], mistakes)


def _read(folder: Path) -> tuple[list[IncomingProfile], list[Mistake]]:
    """Read the incoming profiles whose keys are clear, and what is wrong with the others."""
    try:
        clear = read_clear(folder)
        written, strays = read_written(folder)
    except ProfileErrors as error:
        return [], list(error.mistakes)
    known = {one.key for one in clear}
    mistakes = [*strays, *(mistake for one in written if one.profile.key not in known for mistake in one.mistakes)]
    return [one for one in clear if isinstance(one, IncomingProfile)], mistakes


async def list_stored(database: Database) -> list[ListedRule]:
    """List the active rules of the database."""
    return [_listed(one) for one in await repository.read_rules(database) if one.active]


async def wrong_rules(database: Database) -> list[ListedRule]:
    """List those of them that are wrong, and passed over."""
    return [one for one in await list_stored(database) if one.rule is None]


def words_of_wrong(one: ListedRule) -> str:
    """Put into words what is wrong with a rule of the database."""
    return f"it is passed over: {'; '.join(one.faults)}"


async def mistakes(database: Database) -> Sequence[Mistake]:
    """Tell of the wrong rules of the database."""
    return [
        Mistake("", 0, f"rule '{one.name}' of {one.kept_in}: {words_of_wrong(one)}")
        for one in await wrong_rules(database)
    ]


def _listed(one: StoredRule) -> ListedRule:
    rule = one.rule
    return ListedRule(
        name=one.name,
        kept_in=DATABASE,
        rule=rule,
        active=one.active,
        position=one.position,
        by=one.by,
        at=one.at,
        faults=() if rule else tuple(faults_of(json.loads(one.keys))),
        note=f"no owner has the mailbox {', '.join(one.unknown)}" if one.unknown else None,
    )


def _of_profile(rule: CreationRule) -> ListedRule:
    return ListedRule(rule.name, rule.kept_in, rule)
