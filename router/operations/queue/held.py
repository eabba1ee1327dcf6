"""Mail that is held back, listed and counted as far as a person may see it; deciding on it is `operations.letters`'."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from router.errors import UnknownName
from router.operations.queue import Seen, within
from router.repository.database import Database
from router.repository.senders import held as repository
from router.repository.senders.held import Held, HeldFilter

__all__ = ["Counts", "Held", "HeldPage", "OwnerCount", "count", "list_page", "may_rule", "news"]


@dataclass(frozen=True, slots=True)
class HeldPage:
    """Held mail, the latest first. `goes_on`: the id before which the next page lies."""

    held: tuple[Held, ...]
    goes_on: int | None


@dataclass(frozen=True, slots=True)
class OwnerCount:
    """How much mail of one owner is held."""

    owner_id: UUID
    mailbox: str
    number: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What is held, as a filter would leave it: in all; by owner, whatever the owner asked for; and so on.

    `ages` are of mail that is held for longer than each of the times asked for.
    """

    number: int
    owners: tuple[OwnerCount, ...]
    kinds: Mapping[str, int]
    ages: tuple[int, ...]


async def list_page(
    database: Database,
    seen: Seen,
    *,
    owners: frozenset[UUID] | None = None,
    kind: str | None = None,
    older_than: timedelta | None = None,
    before: int | None = None,
    limit: int = 50,
) -> HeldPage:
    """List held mail, with its reasons in words; of a class of reasons, and held for longer, where these are named."""
    found = await repository.list_held(database, within(seen, owners), _filter(kind, older_than), before, limit)
    return HeldPage(tuple(found), found[-1].id if len(found) == limit else None)


async def count(
    database: Database,
    seen: Seen,
    ages: Sequence[timedelta],
    *,
    owner: UUID | None = None,
    kind: str | None = None,
    age: int = 0,
) -> Counts:
    """Count held mail; each list of choices as the other filters leave it. `age`: how many of `ages` are asked for."""
    now = datetime.now(UTC)
    found = await repository.count_held(database, seen, [now - one for one in ages])
    by_owner: Counter[tuple[UUID, str]] = Counter()
    by_kind: Counter[str] = Counter()
    by_age = [0] * len(ages)
    number = 0
    for one in found:
        is_owner, is_kind, is_age = owner in (None, one.owner_id), kind in (None, one.kind), one.age >= age
        if is_kind and is_age and one.owner_id is not None:
            by_owner[one.owner_id, one.owner or ""] += one.number
        if is_owner and is_age:
            by_kind[one.kind] += one.number
        if is_owner and is_kind:
            for place in range(one.age):
                by_age[place] += one.number
        if is_owner and is_kind and is_age:
            number += one.number
    owners = tuple(OwnerCount(owner_id, mailbox, of_it) for (owner_id, mailbox), of_it in by_owner.items())
    return Counts(number, owners, by_kind, tuple(by_age))


async def news(
    database: Database,
    seen: Seen,
    after: int,
    known: Sequence[int],
    *,
    owners: frozenset[UUID] | None = None,
    kind: str | None = None,
    older_than: timedelta | None = None,
) -> tuple[int, Sequence[int]]:
    """Count what is held since an id, up to a hundred; and tell which of what a page shows is not held any more."""
    return await repository.count_news(database, within(seen, owners), _filter(kind, older_than), after, known)


async def may_rule(database: Database, seen: Seen, ids: Sequence[int]) -> None:
    """Let `letters.release` and `letters.drop` be called with these ids. Raises UnknownName where one is not seen."""
    if not await repository.may_rule_on_held(database, seen, ids):
        raise UnknownName("there is no such held mail")


def _filter(kind: str | None, older_than: timedelta | None) -> HeldFilter:
    return HeldFilter(kind, None if older_than is None else datetime.now(UTC) - older_than)
