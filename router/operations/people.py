"""People who may use the console: added, granted, disabled, and given a one-time link to choose a password."""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from router.errors import RouterError, UnknownName
from router.model.viewer import Grant, StaffRole
from router.operations import passwords
from router.operations.audit_log import COMMAND_LINE
from router.operations.backing import Conflict, Refused
from router.repository.database import Connection, Database
from router.repository.owners import owners
from router.repository.people import audit_log, identities, passkeys, people
from router.repository.people.people import Link, Person

__all__ = [
    "Grant", "Link", "Person", "StaffRole", "add", "digest", "disable", "find_link", "first_link", "grant",
    "grants_named", "list_all", "name_of", "names", "owners_named", "reset", "sign_out", "use_link",
]  # fmt: skip

LASTS: Final = timedelta(days=3)
"""For how long a one-time link is valid."""

FIRST_LASTS: Final = timedelta(hours=24)
"""For how long that of the first administrator is."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_EVERYTHING: Final = (Grant(StaffRole.ADMINISTER),)


@dataclass(frozen=True, slots=True)
class Listed:
    """A person, and the mailboxes or names of the owners that are granted."""

    person: Person
    owners: dict[UUID, str]


async def list_all(database: Database) -> Sequence[Listed]:
    """List all people by name."""
    found = await people.list_people(database)
    wanted = {one.owner_id for person in found for one in person.grants if one.owner_id is not None}
    named = await owners.names_of(database, sorted(wanted))
    return [
        Listed(one, {g.owner_id: named.get(g.owner_id, str(g.owner_id)) for g in one.grants if g.owner_id})
        for one in found
    ]


async def names(database: Database) -> Sequence[str]:
    """List the names of those who may come in."""
    return [one.name for one in await people.list_people(database) if one.disabled_at is None]


async def grants_named(
    database: Database,
    role: str,
    owners: Collection[str] = (),
    *,
    queues: Collection[str] = (),
    users: Collection[str] = (),
) -> Sequence[Grant]:
    """Make grants of a role for the mail of these owners, queues, users; without any, for all. Raises RouterError."""
    if role not in set(StaffRole):
        raise Refused(f"there is no role {role!r}; there are {', '.join(StaffRole)}")
    ids = [
        *await owners_named(database, owners),
        *await owners_named(database, queues, "queue"),
        *await owners_named(database, users, "user"),
    ]
    if ids and role == StaffRole.ADMINISTER:
        raise Refused("who administers does so for all: name no queue and no owner")
    return [Grant(StaffRole(role), one) for one in dict.fromkeys(ids)] or [Grant(StaffRole(role))]


async def owners_named(database: Database, names: Collection[str], kind: str | None = None) -> Sequence[UUID]:
    """Find owners (of a kind, user or queue) by mailbox or name. Raises UnknownName, or where a name is of several."""
    ids: list[UUID] = []
    for name in names:
        found = await owners.ids_named(database, name, kind)
        if not found:
            what = kind or "user or queue"
            raise UnknownName(f"there is no {what} {name!r} with a mailbox: email-router owners list names them")
        if len(found) > 1:
            raise UnknownName(f"there are {len(found)} of the name {name!r}: name it by its mailbox")
        ids.extend(found)
    return ids


async def add(database: Database, name: str, grants: Collection[Grant], by: str = COMMAND_LINE) -> str:
    """Add a person; returns the secret of the one-time link by which the person chooses a password."""
    name = _checked(name)
    secret = secrets.token_urlsafe(32)
    async with database.transaction() as connection:
        person_id = await people.add(connection, name, grants)
        if person_id is None:
            raise Conflict(f'there is {name} already: "email-router staff reset {name}" makes another link')
        await people.add_link(connection, digest(secret), person_id, LASTS)
        await audit_log.note(connection, by, "person-added", name, details=_told(grants))
    return secret


async def grant(database: Database, name: str, grants: Collection[Grant], by: str = COMMAND_LINE) -> None:
    """Grant this in place of what was granted. Raises UnknownName, or Refused for the last administrator."""
    async with database.transaction() as connection:
        person_id = await _found(connection, name)
        if not any(one.role is StaffRole.ADMINISTER for one in grants):
            await _refuse_last(connection, person_id, name)
        await people.grant(connection, person_id, grants)
        await audit_log.note(connection, by, "person-granted", name.strip().lower(), details=_told(grants))


async def reset(database: Database, name: str, by: str = COMMAND_LINE) -> str:
    """Make another one-time link for a person, and enable the account.

    The password holds until the link is used, but for who was disabled. Passkeys go, and whom the provider means by
    this name is found anew: whoever resets says who the person is.
    """
    secret = secrets.token_urlsafe(32)
    async with database.transaction() as connection:
        person_id = await _found(connection, name)
        await people.set_disabled(connection, person_id, disabled=False)
        await identities.release(connection, person_id)
        await passkeys.remove_all(connection, person_id)
        await people.add_link(connection, digest(secret), person_id, LASTS)
        await audit_log.note(connection, by, "person-reset", name.strip().lower())
    return secret


async def disable(database: Database, name: str, by: str = COMMAND_LINE) -> None:
    """Disable an account: sessions end at once. Raises UnknownName, or Refused for the last administrator."""
    async with database.transaction() as connection:
        person_id = await _found(connection, name)
        await _refuse_last(connection, person_id, name)
        await people.set_disabled(connection, person_id, disabled=True)
        await audit_log.note(connection, by, "person-disabled", name.strip().lower())


async def sign_out(database: Database, name: str, by: str = COMMAND_LINE) -> int:
    """End all sessions of a person, who may sign in again; returns how many there were. Raises UnknownName."""
    async with database.transaction() as connection:
        ended = await people.end_all(connection, await _found(connection, name))
        await audit_log.note(connection, by, "sessions-ended", name.strip().lower())
    return ended


async def first_link(database: Database) -> str | None:
    """Make the secret of a link for the first administrator; None where there are people."""
    if await people.there_are_any(database):
        return None
    secret = secrets.token_urlsafe(32)
    async with database.transaction() as connection:
        await people.add_link(connection, digest(secret), None, FIRST_LASTS)
    return secret


async def are_there_any(database: Database) -> bool:
    """Whether anybody may use the console yet."""
    return await people.there_are_any(database)


async def find_link(database: Database, secret: str) -> Link | None:
    """Find a one-time link; None where it is none, was used, or has expired."""
    return await people.find_link(database, digest(secret))


async def use_link(
    database: Database, secret: str, name: str, password: str | None, address: str | None
) -> tuple[int, str]:
    """Choose a password by a one-time link; for the first administrator, a name as well.

    `password` None: nobody signs in by passwords here, so none is chosen.

    Returns the id of the person, and the name. Raises UnknownName where the link is none any more, and Refused for a
    name or password that is none.
    """
    link = await people.find_link(database, digest(secret))
    if link is None:
        raise UnknownName("this link was used, or has expired")
    name = link.name or _checked(name)
    kept = None
    if password is not None:
        passwords.check(password, name)
        kept = await passwords.hashed(password)
    async with database.transaction() as connection:
        link = await people.use_link(connection, digest(secret))
        if link is None:
            raise UnknownName("this link was used, or has expired")
        if link.person_id is None:
            person_id = await people.add(connection, name, _EVERYTHING, kept)
            assert person_id is not None  # there was nobody
            await audit_log.note(connection, name, "person-added", name, address=address, details=_told(_EVERYTHING))
        else:
            person_id = link.person_id
            await people.set_password(connection, person_id, kept)
        chosen = "password-chosen" if kept is not None else "link-used"
        await audit_log.note(connection, name, chosen, name, address=address)
    return person_id, name


def digest(secret: str) -> bytes:
    """By what a secret of 256 random bits is found: nobody finds it by trying, so one round is enough."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def name_of(written: str) -> str | None:
    """Write a name as it is kept; None where it is none."""
    name = written.strip().lower()
    return name if _NAME.fullmatch(name) else None


def _checked(written: str) -> str:
    name = name_of(written)
    if name is None:
        raise Refused(f"{written.strip()!r} is no name of a person: up to 64 of a-z, 0-9, '.', '_', '@', '+' and '-'")
    return name


async def _found(connection: Connection, name: str) -> int:
    person_id = await people.find_id(connection, name.strip().lower())
    if person_id is None:
        raise UnknownName(f"there is no person {name}: email-router staff list names them")
    return person_id


async def _refuse_last(connection: Connection, person_id: int, name: str) -> None:
    if not await people.is_other_administrator(connection, person_id):
        raise RouterError(f"nobody but {name} administers, so this stays: add another administrator first")


def _told(grants: Collection[Grant]) -> dict[str, object]:
    return {
        "grants": [
            {"role": one.role.value, "owner": str(one.owner_id) if one.owner_id else None}
            for one in grants
        ]
    }  # fmt: skip
