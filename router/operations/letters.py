"""Letters: dead and held copies, which a person looks at, has decided on again, or drops.

Thousands are done piece by piece, each piece in a transaction of its own. Who was stopped begins again: what is done is
no letter any more.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Final

from router.errors import DatabaseAway, DatabaseError, UnknownName
from router.incoming.promote import Promoter
from router.incoming.replay import LetterReader, ReadAgain, profile_of, settles
from router.model import Decision, Disposition, Ruling
from router.operations import explain
from router.operations.explain import Explained
from router.profile import Profiles
from router.repository.database import Database
from router.repository.incoming import letters as repository
from router.repository.incoming.letters import Letter, Selection
from router.workers.pool import Workers

__all__ = [
    "Became",
    "Letter",
    "Selection",
    "Shown",
    "count",
    "drop",
    "find",
    "find_letter",
    "list_all",
    "list_page",
    "release",
    "replay",
    "show",
]

_PAGE: Final = 1000  # letters that are listed at once
_PIECE: Final = 20  # letters whose bytes are in memory at once

_RULED_ON: Final = "another person ruled on it meanwhile"


@dataclass(frozen=True, slots=True)
class Became:
    """What became of a letter: the decisions on its copies, mostly one, or why it is a letter still."""

    letter: Letter
    decisions: Sequence[Decision] = ()
    fault: str | None = None

    @property
    def waits(self) -> bool:
        """Whether a person has to look at it again."""
        again = (Disposition.DEAD, Disposition.HELD)
        return self.fault is not None or any(one.disposition in again for one in self.decisions)


@dataclass(frozen=True, slots=True)
class Shown:
    """A letter, and what is read in its bytes; `content` is empty where these are not kept."""

    letter: Letter
    explained: Explained | None = None
    content: bytes = b""


async def list_all(
    database: Database, waiting: Disposition, which: Selection, limit: int = repository.MOST_LISTED
) -> tuple[list[Letter], int]:
    """List letters, the oldest decisions first, and say how many there are."""
    found = await repository.list_letters(database, waiting, which, limit=limit)
    return found, len(found) if len(found) < limit else await repository.count_letters(database, waiting, which)


async def list_page(
    database: Database, waiting: Disposition, which: Selection, after: int, limit: int
) -> tuple[Sequence[Letter], int | None]:
    """List a page of letters, the oldest first, and the id behind which the next one begins; None: that is all."""
    found = await repository.list_letters(database, waiting, which, after=after, limit=limit + 1)
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None


async def find(database: Database, waiting: Disposition, id_: int) -> Shown:
    """Find a letter with its bytes, if they are kept, unread. Raises UnknownName."""
    letter = await find_letter(database, waiting, id_)
    kept = (await repository.read_kept(database, [id_])).get(id_)
    return Shown(letter, content=kept.content if kept else b"")


async def find_letter(database: Database, waiting: Disposition, id_: int) -> Letter:
    """Find a letter without its bytes. Raises UnknownName."""
    [letter] = await _find(database, waiting, [id_])
    return letter


async def count(database: Database, waiting: Disposition, which: Selection | Sequence[int]) -> int:
    """Count the letters that are meant."""
    if not isinstance(which, Selection):
        return len(set(which))
    return await repository.count_letters(database, waiting, which)


async def show(database: Database, workers: Workers, waiting: Disposition, id_: int) -> Shown:
    """Show a letter; of its content only what is kept, since other mail is its owner's alone. Raises UnknownName."""
    letter = await find_letter(database, waiting, id_)
    kept = (await repository.read_kept(database, [id_])).get(id_)
    if kept is None:
        return Shown(letter)
    [explained] = await explain.read_messages(workers, {f"letter {id_}": kept.content}, None)
    return Shown(letter, explained, kept.content)


async def replay(
    database: Database, workers: Workers, profiles: Profiles, by: str, which: Selection | Sequence[int]
) -> AsyncIterator[Became]:
    """Decide on dead letters again, by today's rules; each as soon as it is committed. Raises UnknownName."""
    async for became in _again(database, workers, profiles, Disposition.DEAD, Ruling(by), which):
        yield became


async def release(
    database: Database, workers: Workers, profiles: Profiles, by: str, which: Selection | Sequence[int]
) -> AsyncIterator[Became]:
    """Decide on held mail again, whatever held it; the owner's rule still judges it. Raises UnknownName."""
    async for became in _again(database, workers, profiles, Disposition.HELD, Ruling(by, "released"), which):
        yield became


async def drop(
    database: Database, profiles: Profiles, waiting: Disposition, by: str, which: Selection | Sequence[int]
) -> AsyncIterator[Became]:
    """Make letters ignored; their bytes are gone. Raises UnknownName."""
    reason = f"dropped by {by}"
    async for page in _pages(database, waiting, which):
        settled = [
            one.source.id
            for one in page
            if Disposition.IGNORED in settles(profile_of(profiles, one.source), one.source)
        ]
        dropped = set(await repository.drop(database, [one.id for one in page], reason, settled))
        for letter in page:
            if letter.id in dropped:
                decision = Decision(Disposition.IGNORED, letter.rule, (*letter.reasons, reason))
                yield Became(letter, [decision])
            else:
                yield Became(letter, fault=_RULED_ON)


async def _again(
    database: Database,
    workers: Workers,
    profiles: Profiles,
    waiting: Disposition,
    ruling: Ruling,
    which: Selection | Sequence[int],
) -> AsyncIterator[Became]:
    async for page in _pages(database, waiting, which):
        for piece in _pieces(page):
            reader = LetterReader(database, workers, profiles, piece[0].source, ruling)
            found = await reader.read(piece)
            readable = [one for one in found if one.fault is None]
            became = {one.letter.id: one for one in await _decided(database, reader, readable)} if readable else {}
            for one in found:
                yield became.get(one.letter.id) or Became(one.letter, fault=one.fault)


async def _decided(database: Database, reader: LetterReader, readable: Sequence[ReadAgain]) -> list[Became]:
    """Decide on letters again. Raises DatabaseError where the database is at fault for all."""
    promoter = Promoter(database)
    for last in (False, False, True):
        try:
            return list(_became(readable, iter(await promoter.promote(reader.batch_of(readable)))))
        except DatabaseError as error:
            if not isinstance(error, DatabaseAway):
                raise
            await database.ping()
            if last:  # by now the others are in: something locks what one of them needs
                return await _as_they_are(database, readable, str(error))
    raise AssertionError("the last try returns")


async def _as_they_are(database: Database, readable: Sequence[ReadAgain], fault: str) -> list[Became]:
    now = await repository.find_letters(database, [one.letter.id for one in readable])
    became = []
    for one in readable:
        letter = now.get(one.letter.id)
        if letter is not None and letter.decided_at == one.letter.decided_at:
            became.append(Became(one.letter, fault=fault))
        else:
            decision = [Decision(letter.disposition, letter.rule, letter.reasons)] if letter else []
            became.append(Became(one.letter, decision))
    return became


def _became(read: Sequence[ReadAgain], decisions: Iterator[Decision]) -> Iterator[Became]:
    """Give each letter the decisions on its copies."""
    for one in read:
        of_copies = [next(decisions) for _ in one.copies]
        if all(decision.decided_before for decision in of_copies):
            yield Became(one.letter, fault=_RULED_ON)
        else:
            yield Became(one.letter, of_copies)


async def _pages(
    database: Database, waiting: Disposition, which: Selection | Sequence[int]
) -> AsyncIterator[list[Letter]]:
    """Yield letters, each once, in pages; what is decided on from now on is not among them."""
    if not isinstance(which, Selection):
        yield await _find(database, waiting, which)
        return
    which = replace(which, before=which.before or datetime.now(UTC))
    page = await repository.list_letters(database, waiting, which, limit=_PAGE)
    while page:
        yield page
        page = await repository.list_letters(database, waiting, which, after=page[-1].id, limit=_PAGE)


def _pieces(page: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Cut a page into pieces of one source, so that its server is asked once for many."""
    source_id = attrgetter("source.id")
    for _, of_source in groupby(sorted(page, key=source_id), source_id):
        letters = list(of_source)
        for start in range(0, len(letters), _PIECE):
            yield letters[start : start + _PIECE]


async def _find(database: Database, waiting: Disposition, ids: Sequence[int]) -> list[Letter]:
    found = await repository.find_letters(database, ids)
    wrong = [f"{id_}{_is_now(found.get(id_))}" for id_ in ids if id_ not in found or found[id_].disposition != waiting]
    if wrong:
        raise UnknownName(f"there is no {waiting} letter {', '.join(wrong)}")
    return [found[id_] for id_ in dict.fromkeys(ids)]


def _is_now(letter: Letter | None) -> str:
    return f" (it is {letter.disposition})" if letter else ""
