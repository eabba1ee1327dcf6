"""Who waits, by domain and by sender, as a page lists them; filtered, counted, searched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from router.model import normalize
from router.operations.queue import Seen, within
from router.repository.database import Database
from router.repository.senders import pages, search, totals
from router.repository.senders.pages import Part, Place, Sender
from router.repository.senders.search import Found, FoundRecord
from router.repository.senders.totals import OwnerTotal, Total

__all__ = [
    "REASONS",
    "Changes",
    "Counts",
    "Found",
    "FoundRecord",
    "Group",
    "Groups",
    "Mails",
    "OwnerTotal",
    "Part",
    "Place",
    "Sender",
    "Senders",
    "Total",
    "assigned",
    "changed",
    "counts",
    "find",
    "groups",
    "records",
    "senders",
    "senders_named",
    "senders_of",
]

Aside = Literal["machines", "snoozed"]
"""Lists that are folded away: mail of machines, and senders who are put off."""

REASONS: Final = ("nobody", "stranger", "denied", "several", "ruling", "unreadable")
"""Why senders wait, as `router.unresolved_kind` says."""

_SHOWN: Final = 3  # senders of a group that are listed with it
_ASIDE: Final[dict[Aside, str]] = {"machines": totals.MACHINES, "snoozed": totals.SNOOZED}


@dataclass(frozen=True, slots=True)
class Group:
    """A domain with the newest of its senders, or a lone address (of a public provider, or none that can be read).

    `senders` and `number` are at most so many where several owners who are seen have received more than a hundred.
    """

    part: Part
    senders: tuple[Sender, ...]

    @property
    def domain(self) -> str | None:
        """The domain; None for a lone address."""
        return self.part.part[1:] if self.part.part.startswith("@") else None


@dataclass(frozen=True, slots=True)
class Groups:
    """A page of groups. `goes_on` is the place for the next one; None: that is all."""

    groups: tuple[Group, ...]
    goes_on: Place | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Senders whose rows have changed, as far as they wait; the groups that they are in; and how much waits in all."""

    senders: tuple[Sender, ...]
    groups: tuple[Group, ...]
    waiting: Total


@dataclass(frozen=True, slots=True)
class Senders:
    """A page of senders. `goes_on` as of `Groups`."""

    senders: tuple[Sender, ...]
    goes_on: Place | None


@dataclass(frozen=True, slots=True)
class Mails:
    """Emails that were found, each with its sender's row. `goes_on` may be there though this page has few, or none."""

    mails: tuple[tuple[Found, Sender | None], ...]
    goes_on: tuple[datetime, UUID] | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What waits: in all, folded away, and by owner (queues and users), as far as it is seen.

    `older` are groups in which a sender waits longer than each time asked for, `reasons` senders by REASONS; a hundred
    or more are a hundred.
    """

    waiting: Total
    machines: Total
    snoozed: Total
    owners: tuple[OwnerTotal, ...]
    older: tuple[int, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


async def groups(
    database: Database,
    seen: Seen,
    *,
    owners: frozenset[UUID] | None = None,
    older_than: timedelta | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> Groups:
    """List the groups, that with the newest email first; with `older_than` those who wait longer, the longest first."""
    seen = within(seen, owners)
    found = await pages.list_parts(database, seen, after=after, limit=limit, older_than=_before(older_than))
    last = found[-1] if len(found) == limit else None
    shown = await _groups(database, seen, found)
    return Groups(shown, Place(last.oldest_at if older_than else last.latest_at, last.part) if last else None)


async def changed(
    database: Database, seen: Seen, addresses: Sequence[str], *, owners: frozenset[UUID] | None = None
) -> Changes:
    """Read again what has changed of these senders, as `live` tells them."""
    inner = within(seen, owners)
    rows = await pages.find_senders(database, inner, addresses)
    parts = sorted({one.part for one in rows} - {totals.MACHINES, totals.SNOOZED})
    found = await pages.find_parts(database, inner, parts)
    total = await totals.list_totals(database, inner)
    return Changes(tuple(rows), await _groups(database, inner, found), total[""])


async def _groups(database: Database, seen: Seen, parts: Sequence[Part]) -> tuple[Group, ...]:
    first = await pages.first_of_parts(database, seen, [one.part for one in parts], _SHOWN)
    return tuple(Group(one, tuple(first[one.part])) for one in parts)


async def senders(
    database: Database,
    seen: Seen,
    part: str,
    *,
    owners: frozenset[UUID] | None = None,
    older_than: timedelta | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> Senders:
    """List the senders of a group, or of what is folded away (`machines`, `snoozed`); in the order of `groups`."""
    part = _ASIDE.get(part, part)  # type: ignore[call-overload]  # any other is a group
    found = await pages.list_senders(
        database, within(seen, owners), part=part, after=after, limit=limit, older_than=_before(older_than)
    )
    return _page(found, limit, oldest=older_than is not None)


async def senders_of(
    database: Database,
    seen: Seen,
    *,
    domain: str | None = None,
    reason: str | None = None,
    owners: frozenset[UUID] | None = None,
    older_than: timedelta | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> Senders:
    """List the senders of a domain, also of a public provider, or who wait for one of REASONS; the newest first.

    Of a domain, machines and who is put off are among them; of a reason they are not.
    """
    of_domain = None if domain is None else normalize(f"x@{domain.strip().removeprefix('@')}")[2:]
    found = await pages.list_senders(
        database, within(seen, owners), domain=of_domain, reason=reason, after=after, limit=limit,
        older_than=_before(older_than),
    )  # fmt: skip
    return _page(found, limit, oldest=False)


async def senders_named(database: Database, seen: Seen, addresses: Sequence[str]) -> tuple[Sender, ...]:
    """Find the rows of senders again, as where `live` says that they have changed; who waits no more is left out."""
    return tuple(await pages.find_senders(database, seen, list(addresses)))


async def assigned(database: Database, seen: Seen, to: str, *, after: str = "", limit: int = 50) -> tuple[Sender, ...]:
    """List the senders who are assigned to a person, by address."""
    return tuple(await pages.list_assigned(database, seen, to, after=after, limit=limit))


async def find(
    database: Database,
    seen: Seen,
    text: str,
    *,
    owners: frozenset[UUID] | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> Mails:
    """Find the emails that wait and have all words, or beginnings of words, that were typed; the newest first."""
    seen = within(seen, owners)
    found = await search.search_mail(database, seen, text, before=before, limit=limit)
    rows = await pages.find_senders(database, seen, list(dict.fromkeys(one.address for one in found.mails)))
    by_address = {one.address: one for one in rows}
    return Mails(tuple((one, by_address.get(one.address)) for one in found.mails), found.goes_on)


async def counts(
    database: Database, seen: Seen, ages: Sequence[timedelta] = (), *, owners: frozenset[UUID] | None = None
) -> Counts:
    """Count what waits; with `ages` also what waits for longer than each of these times, and for which reason."""
    total = await totals.list_totals(database, within(seen, owners))
    by_owner = await totals.list_by_owner(database, seen)
    now = datetime.now(UTC)
    if not ages:
        return Counts(total[""], total[totals.MACHINES], total[totals.SNOOZED], tuple(by_owner))
    older = await totals.count_older(database, within(seen, owners), [now - one for one in ages])
    reasons = dict(zip(REASONS, await totals.count_reasons(database, within(seen, owners), REASONS), strict=True))
    return Counts(total[""], total[totals.MACHINES], total[totals.SNOOZED], tuple(by_owner), tuple(older), reasons)


async def records(
    database: Database, text: str, kinds: Sequence[str] | None = None, limit: int = 10
) -> tuple[FoundRecord, ...]:
    """Find records of the CRM as their name or address is typed, of these kinds. Raises DatabaseAway."""
    return tuple(await search.search_records(database, text, kinds, limit))


def _before(older_than: timedelta | None) -> datetime | None:
    return None if older_than is None else datetime.now(UTC) - older_than


def _page(found: Sequence[Sender], limit: int, *, oldest: bool) -> Senders:
    last = found[-1] if len(found) == limit else None
    return Senders(tuple(found), Place(last.oldest_at if oldest else last.latest_at, last.address) if last else None)
