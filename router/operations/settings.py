"""Settings of tracking: which value counts for whom, and choosing another."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from router.errors import DatabaseError, Mistake, UnknownName
from router.model import Rule, normalize
from router.model.settings import ALLOWED_RULES, RULE, SETTINGS, Choices, Chosen, Setting, Value
from router.operations import served
from router.repository.database import Database
from router.repository.owners import choices as repository
from router.repository.owners import owners
from router.repository.owners.owners import ListedOwner


@dataclass(frozen=True, slots=True)
class Listed:
    """A setting with the value that counts.

    `by` and `at` tell who chose it and when, where the organization or the owner did; None where that is not known.
    `profile` names the profile whose choice counts. `fault` says that something is stored which is no value of it.
    """

    chosen: Chosen
    by: str | None = None
    at: datetime | None = None
    profile: str | None = None
    fault: str | None = None


def setting_of(name: str) -> Setting:
    """Find a setting, however it is written. Raises UnknownName."""
    found = SETTINGS.get(name.replace("-", "_").lower())
    if found is None:
        raise UnknownName(f"there is no setting {name!r}; there are: {', '.join(SETTINGS)}")
    return found


def value_of(setting: Setting, written: str) -> Value:
    """Read a value as a person writes it, a list with commas. Raises UnknownName."""
    value = setting.values.read(written)
    if value is None:
        raise UnknownName(f"{setting.name} must be {setting.values}, not {written!r}")
    return value


async def list_all(database: Database, mailbox: str | None, lease: timedelta, folder: Path) -> list[Listed]:
    """List all settings, with the values that count for an owner, or for whoever has chosen nothing else.

    Raises UnknownName where no owner has the mailbox.
    """
    owner = await _owner(database, mailbox) if mailbox else None
    stored = await repository.read_stored(database, [owner.mailbox] if owner else [])
    profile, said = None, {}
    if owner:
        serving = await served.read(database, lease, folder)
        reading = next(iter(serving.profiles.routes_of(owner.mailbox).incoming), None)
        if reading is not None:
            profile = reading.name
            said = dict(reading.choices) | {"rule": str(reading.tracking_rule)}
    listed = []
    for setting in SETTINGS.values():
        chosen = stored.choices.of(setting, owner.owner.id if owner else None, said)
        by, at = _changed(stored, chosen, owner)
        wrong = "; ".join(faults_of(stored.choices, [owner] if owner else [], setting))
        listed.append(Listed(chosen, by, at, profile if chosen.place == "profile" else None, wrong or None))
    return listed


def _changed(
    stored: repository.Stored, chosen: Chosen, owner: ListedOwner | None
) -> tuple[str, datetime] | tuple[None, None]:
    if chosen.place == "organization":
        return stored.by.get(chosen.setting.name, (None, None))
    own = stored.own.get(owner.owner.id, {}) if owner and chosen.place == "owner" else {}
    return own.get(chosen.setting.name, (None, None))


async def own_choices(database: Database, mailbox: str) -> list[Listed]:
    """List what an owner has chosen and what counts, with who chose it and when. Raises UnknownName."""
    owner = await _owner(database, mailbox)
    stored = await repository.read_stored(database, [owner.mailbox])
    found = [stored.choices.of(setting, owner.owner.id) for setting in SETTINGS.values()]
    return [Listed(one, *_changed(stored, one, owner)) for one in found if one.place == "owner"]


async def choose(
    database: Database, name: str, written: str, by: str, mailbox: str | None = None, *, locked: bool = False
) -> tuple[Setting, Value]:
    """Choose a value, for the organization or an owner. Raises UnknownName, or DatabaseError where it is locked."""
    setting = setting_of(name)
    value = value_of(setting, written)
    if mailbox is None:
        if setting is RULE and not locked:
            raise UnknownName(
                "the organization can only lock the rule (--lock): without a lock each profile has a rule of its own"
            )
        await repository.choose(database, setting.name, value, by, locked=locked)
        return setting, value
    await _choose_own(database, await _owner(database, mailbox), setting, value, by)
    return setting, value


async def reset(database: Database, name: str, by: str, mailbox: str | None = None) -> tuple[Setting, bool]:
    """Let the organization or an owner have chosen nothing. False: they had not. Raises UnknownName."""
    setting = setting_of(name)
    if mailbox is None:
        return setting, await repository.reset(database, setting.name)
    owner = await _owner(database, mailbox)
    stored = await repository.read_stored(database, [owner.mailbox])
    had = stored.choices.owners[owner.owner.id].get(setting.name) is not None
    if setting is RULE:
        await owners.set_rule(database, owner.mailbox, None, by)
    else:
        await repository.choose_own(database, owner.owner.id, setting.name, None, by)
    return setting, had


async def _choose_own(database: Database, owner: ListedOwner, setting: Setting, value: Value, by: str) -> None:
    if "owner" not in setting.places:
        raise UnknownName(f"{setting.name} is the organization's to choose, not an owner's")
    if setting is RULE:
        await refuse_rule(database, Rule(str(value)))
        await owners.set_rule(database, owner.mailbox, Rule(str(value)), by)
        return
    chosen = (await repository.read_stored(database)).choices.of(setting)
    if chosen.locked:
        raise DatabaseError(f"the organization has locked {setting.name}: it is {chosen.value}")
    await repository.choose_own(database, owner.owner.id, setting.name, value, by)


async def refuse_rule(database: Database, rule: Rule | None) -> None:
    """Raise DatabaseError, with words, where the organization lets no owner have this rule (None: the profile's)."""
    if rule is None:
        return
    choices = (await repository.read_stored(database)).choices
    locked, allowed = choices.of(RULE), choices.of(ALLOWED_RULES).words
    if locked.locked and rule != locked.value:
        raise DatabaseError(f'the organization has locked the rule {locked.value} ("email-router settings list")')
    if rule not in allowed:
        raise DatabaseError(
            f'the organization does not allow the rule {rule}, only {", ".join(allowed)} ("email-router settings list")'
        )


async def _owner(database: Database, mailbox: str) -> ListedOwner:
    found = (await owners.find_owners(database, [normalize(mailbox)])).get(normalize(mailbox))
    if found is None:
        raise UnknownName(f'no owner has the mailbox {mailbox}: "email-router owners list" tells which there are')
    return found


async def owner_of(database: Database, mailbox: str | None) -> ListedOwner | None:
    """Find the owner who has a mailbox; None for the organization. Raises UnknownName."""
    return await _owner(database, mailbox) if mailbox else None


def rule_notes(choices: Choices, rules: Iterable[tuple[str, Rule | None]]) -> Iterator[Mistake]:
    """Say which of these rules, each with whose it is, the organization does not allow."""
    allowed = choices.of(ALLOWED_RULES).words
    for whose, rule in rules:
        if rule is not None and rule not in allowed:
            words = f"{whose} has the rule {rule}, which the organization does not allow, only {', '.join(allowed)}"
            yield Mistake("", 0, words)


def faults_of(choices: Choices, owners_of: Iterable[ListedOwner], setting: Setting) -> Iterator[str]:
    """Say which stored values are none of a setting's, and are passed over: the organization's, and these owners'."""
    stored = {"the organization": choices.organization}
    stored |= {f"owner {one.mailbox}": choices.owners.get(one.owner.id, {}) for one in owners_of}
    for whose, values in stored.items():
        value = values.get(setting.name)
        if value is not None and setting.values.parse(value) is None:
            yield f"{whose} has {setting.name} = {value!r}, which is passed over"
