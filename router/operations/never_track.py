"""Whose mail is never tracked: listing, adding, removing."""

from collections.abc import Sequence

from router.errors import UnknownName
from router.model.address_pattern import is_everybody, parse_pattern
from router.operations.settings import owner_of
from router.repository.database import Database
from router.repository.owners import never_track as repository
from router.repository.owners.never_track import NeverTracked

__all__ = ["NeverTracked", "add", "list_all", "parse", "parse_new", "remove"]


async def list_all(database: Database, mailbox: str | None) -> Sequence[NeverTracked]:
    """List all patterns, or those that count for one owner. Raises UnknownName."""
    owner = await owner_of(database, mailbox)
    return await repository.list_patterns(database, owner.owner.id if owner else None)


async def add(database: Database, written: str, mailbox: str | None, by: str) -> tuple[str, bool]:
    """Add a pattern for the organization or an owner; False: it was there. Raises UnknownName."""
    pattern = parse_new(written)
    owner = await owner_of(database, mailbox)
    return pattern, await repository.add(database, pattern, owner.owner.id if owner else None, by)


async def remove(database: Database, written: str, mailbox: str | None) -> tuple[str, bool]:
    """Remove a pattern of the organization or an owner; False: it was not there. Raises UnknownName."""
    pattern = parse(written)
    owner = await owner_of(database, mailbox)
    return pattern, await repository.remove(database, pattern, owner.owner.id if owner else None)


def parse(written: str) -> str:
    """Normalize a pattern. Raises UnknownName."""
    try:
        return parse_pattern(written)
    except ValueError as error:
        raise UnknownName(str(error)) from None


def parse_new(written: str) -> str:
    """Normalize a pattern that is to be added: none that names everybody. Raises UnknownName."""
    pattern = parse(written)
    if is_everybody(pattern):
        raise UnknownName(
            f"{pattern} would be whoever has a domain there: name a domain such as example.com, or an address"
        )
    return pattern
