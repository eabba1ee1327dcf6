"""The outbox: outgoing email that waits, failed or is unknown, which a person looks at and rules on.

Thousands are done piece by piece, each piece in a transaction of its own. A command that was stopped can be given
again: what it has done has another state by now.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from router.errors import DatabaseAway, DatabaseError, UnknownName
from router.outgoing.sent_folder import sent_folder_has
from router.profile import Profiles
from router.repository.database import Database
from router.repository.outgoing import outbox_entries as repository
from router.repository.outgoing.outbox_entries import Attempt, Entry, Place, Recipient, Selection, State
from router.repository.outgoing.queue import CAUSES, Queue
from router.repository.overview.status import FaultyRelay, read_relays
from router.settings import Settings

__all__ = [
    "CAUSES",
    "LISTED",
    "MOST_COUNTED",
    "Attempt",
    "Entry",
    "Listed",
    "Meant",
    "Place",
    "Recipient",
    "RelayState",
    "Rule",
    "Ruled",
    "Selection",
    "Shown",
    "State",
    "cancel",
    "count_unsent",
    "find",
    "list_all",
    "list_page",
    "put_off",
    "relays",
    "release",
    "retry",
    "show",
]

_STATES: Final[Sequence[State]] = ("unknown", "failed", "sending", "pending")
_PIECE: Final = 100  # emails that are ruled on at once
_LOCKED: Final = "something else has it locked at this moment: try again"


@dataclass(frozen=True, slots=True)
class Meant:
    """All emails of a state, or those of a selection."""

    state: State
    selection: Selection


@dataclass(frozen=True, slots=True)
class Ruled:
    """What became of an email: its new status, or why it keeps the one it has. `note` is what else there is to know."""

    entry: Entry
    status: str
    fault: str | None = None
    note: str | None = None


Rule: TypeAlias = Callable[[Database, Settings, Meant | Sequence[Entry]], AsyncIterator[Ruled]]
"""What is done to the emails that are meant; each is told as soon as it is committed."""


@dataclass(frozen=True, slots=True)
class RelayState:
    """An outgoing profile, and what is wrong with its relay; None: nothing."""

    profile: str
    faulty: FaultyRelay | None


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is known of an email, but what it says."""

    entry: Entry
    recipients: Sequence[Recipient]
    attempts: Sequence[Attempt]


async def list_all(
    database: Database, state: State | None, selection: Selection, limit: int
) -> tuple[list[Entry], int]:
    """List emails of a state, or of all, what needs a person first, and say how many there are."""
    found: list[Entry] = []
    states = _STATES if state is None else (state,)
    for one in states:
        if len(found) < limit:
            found += await repository.list_entries(database, one, selection, limit=limit - len(found))
    if len(found) < limit:
        return found, len(found)
    return found, sum([await repository.count_entries(database, one, selection) for one in states])


LISTED: Final = ("unknown", "failed", "sending", "pending", "sent")
"""Which emails a page lists: those of a state, or those that were sent lately."""

MOST_COUNTED: Final = 10_000

Listed = Literal["unknown", "failed", "sending", "pending", "sent"]


async def list_page(
    database: Database, listed: Listed, selection: Selection, after: Place | None, limit: int
) -> tuple[Sequence[Entry], Place | None]:
    """List a page of emails, and where the next one begins; None: that is all, or all that is told (sent)."""
    if listed == "sent":
        found = await repository.find_entries(database, ids := await repository.list_latest(database, "sent", limit))
        return [found[one] for one in ids if one in found and found[one].status == "sent"], None
    entries = await repository.list_entries(database, listed, selection, after=after, limit=limit + 1)
    shown = entries[:limit]
    return shown, Place(shown[-1].at, shown[-1].email_id) if len(entries) > limit else None


async def count_unsent(database: Database) -> Mapping[str, int]:
    """Count what is unknown and what failed, each up to MOST_COUNTED."""
    return {one: await repository.count_unsent(database, one, MOST_COUNTED) for one in ("unknown", "failed")}


async def show(database: Database, name: str) -> Shown:
    """Show an email by its id or its Message-ID. Raises UnknownName."""
    [entry] = await find(database, [name])
    return Shown(entry, *await repository.read_attempts(database, entry.email_id))


async def find(database: Database, names: Sequence[str]) -> list[Entry]:
    """Find outgoing emails by their ids or Message-IDs, each once. Raises UnknownName."""
    ids = {name: _uuid(name) for name in names}
    by_message_id = [name.strip("<>") for name, id_ in ids.items() if id_ is None]
    known = await repository.find_ids(database, by_message_id) if by_message_id else {}
    wanted = {name: id_ or known.get(name.strip("<>")) for name, id_ in ids.items()}
    found = await repository.find_entries(database, {id_ for id_ in wanted.values() if id_ is not None})
    wrong = [name for name, id_ in wanted.items() if id_ not in found]
    if wrong:
        raise UnknownName(f"there is no outgoing email {', '.join(wrong)}")
    return [found[id_] for id_ in dict.fromkeys(wanted.values()) if id_ is not None]


async def retry(database: Database, meant: Meant | Sequence[Entry]) -> AsyncIterator[Ruled]:
    """Try emails now: what failed is pending again, and what is pending does not wait for its next try."""
    async for piece in _pieces(database, meant):
        waiting = [one for one in piece if one.status == "pending_send"]
        due = await repository.hasten(database, [one.email_id for one in waiting])
        for one in waiting:
            later = one.send_after is not None and one.send_after > datetime.now(UTC)
            fault = None if one.email_id in due else "it is to be sent later" if later else _LOCKED
            yield Ruled(one, "pending_send", fault)
        failed = [one for one in piece if one.status != "pending_send"]
        for ruled in await _moved(database, failed, ("failed",), "pending_send", None):
            yield ruled


async def put_off(database: Database, entries: Sequence[Entry], until: datetime | None) -> AsyncIterator[Ruled]:
    """Have pending emails not sent before a moment; None: as soon as they may be."""
    for one in entries:
        if await repository.put_off(database, one.email_id, until):
            yield Ruled(one, one.status)
            continue
        now = (await repository.find_entries(database, [one.email_id])).get(one.email_id)
        yield _outcome(one, "pending_send", moved=False, now=now, old=("pending_send",))


async def relays(database: Database, profiles: Sequence[str], queue: Queue) -> Sequence[RelayState]:
    """Tell of each of these outgoing profiles whether its relay can be used; `queue` is as `sending.read` has it."""
    faulty = {one.profile: one for one in await read_relays(database, queue)}
    return [RelayState(one, faulty.get(one)) for one in sorted({*profiles, *faulty})]


async def cancel(database: Database, by: str, meant: Meant | Sequence[Entry]) -> AsyncIterator[Ruled]:
    """Cancel what is pending or failed; what a relay has, or may have, cannot be taken back."""
    async for piece in _pieces(database, meant):
        for ruled in await _moved(database, piece, ("pending_send", "failed"), "canceled", f"canceled by {by}"):
            yield ruled


async def release(
    database: Database,
    profiles: Profiles,
    by: str,
    as_: Literal["sent", "failed", "resend"],
    meant: Meant | Sequence[Entry],
    *,
    force: bool = False,
) -> AsyncIterator[Ruled]:
    """Say of unknown emails whether they were sent, or send them again.

    Before one is sent again, its owner's Sent folder is asked for it: what lies there is sent again with `force` only.
    """
    async for piece in _pieces(database, meant):
        if as_ != "resend":
            for ruled in await _moved(database, piece, ("unknown",), as_, f"{by} says that it was {_SAID[as_]}"):
                yield ruled
            continue
        for one in piece:
            note = None
            if one.status == "unknown" and not force:
                lies = None
                if one.owner and one.message_id:
                    lies = await sent_folder_has(profiles, one.owner, one.message_id)
                if lies:
                    fault = f"it lies in the Sent folder of {one.owner}, so it was sent; --force sends it again"
                    yield Ruled(one, one.status, fault)
                    continue
                note = "it is not in its owner's Sent folder" if lies is False else "no Sent folder could tell of it"
            [ruled] = await _moved(database, [one], ("unknown",), "pending_send", None)
            yield ruled if ruled.fault else replace(ruled, note=note)


_SAID: Final = {"sent": "sent", "failed": "not sent"}


async def _moved(
    database: Database, entries: Sequence[Entry], old: Sequence[str], new: str, reason: str | None
) -> list[Ruled]:
    """Move emails together; where the schema or a trigger refuses one, each by itself. Raises DatabaseAway."""
    if not entries:
        return []
    try:
        moved = await repository.move(database, [one.email_id for one in entries], old, new, reason)
    except DatabaseAway:
        raise
    except DatabaseError as error:
        if len(entries) == 1:
            return [Ruled(entries[0], entries[0].status, str(error))]
        return [ruled for one in entries for ruled in await _moved(database, [one], old, new, reason)]
    left = await repository.find_entries(database, [one.email_id for one in entries if one.email_id not in moved])
    return [_outcome(one, new, moved=one.email_id in moved, now=left.get(one.email_id), old=old) for one in entries]


def _outcome(entry: Entry, new: str, *, moved: bool, now: Entry | None, old: Sequence[str]) -> Ruled:
    if moved:
        return Ruled(entry, new)
    if now is None:
        return Ruled(entry, entry.status, "it was deleted meanwhile")
    return Ruled(entry, now.status, _LOCKED if now.status in old else f"it is {now.status}")


async def _pieces(database: Database, meant: Meant | Sequence[Entry]) -> AsyncIterator[Sequence[Entry]]:
    """Yield emails, each once; what fails again meanwhile is not among them."""
    if not isinstance(meant, Meant):
        for start in range(0, len(meant), _PIECE):
            yield meant[start : start + _PIECE]
        return
    selection = replace(meant.selection, before=meant.selection.before or await repository.read_now(database))
    piece = await repository.list_entries(database, meant.state, selection, limit=_PIECE)
    while piece:
        yield piece
        piece = await repository.list_entries(database, meant.state, selection, after=piece[-1], limit=_PIECE)


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
