"""Whether held or dead mail is what was sought: by its headers, where its bytes are kept, which admins may read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from router.model import Disposition
from router.operations import explain
from router.operations.trace.asking import matches, tells_apart, wanted_of
from router.operations.trace.found import Clue, Concerned
from router.repository.database import Database
from router.repository.incoming.letters import Letter, find_kept, find_letters, read_kept
from router.repository.trace.trace import Sought
from router.workers.pool import Workers

_LETTERS: Final = 200  # of one owner, the newest
_PIECE: Final = 10  # whose bytes are in memory at once


async def look_into_letters(
    database: Database, workers: Workers, owners: Sequence[Concerned], sought: Sought
) -> Sequence[Concerned]:
    """Tell which of the owners' letters are what was sought; what is told of their number is told already."""
    newest = [
        sorted(one.letters, reverse=True)[:_LETTERS] if tells_apart(wanted_of(sought, one.role)) else []
        for one in owners
    ]
    # Of most mail no bytes are kept, and of all owners that is one look.
    kept = await find_kept(database, [id_ for letters in newest for id_ in letters])
    return [
        await _look_into(database, workers, owner, [id_ for id_ in letters if id_ in kept], sought)
        for owner, letters in zip(owners, newest, strict=True)
    ]


async def _look_into(
    database: Database, workers: Workers, owner: Concerned, letters: Sequence[int], sought: Sought
) -> Concerned:
    wanted = wanted_of(sought, owner.role)
    heads: dict[str, bytes] = {}
    for start in range(0, len(letters), _PIECE):
        kept = await read_kept(database, letters[start : start + _PIECE])
        heads |= {str(id_): one.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for id_, one in kept.items()}
    if not heads:
        return owner
    read = await explain.read_messages(workers, heads, None)
    meant = [int(one.name) for one in read if one.fault is None and matches(one.message, wanted)]
    found = await find_letters(database, meant)
    return replace(owner, clues=(*map(_clue, found.values()), *owner.clues))


def _clue(letter: Letter) -> Clue:
    reasons = "; ".join(letter.reasons)
    if letter.disposition is Disposition.HELD:
        return Clue("is held", f'it is held for a person: {reasons}: "email-router held show {letter.id}"', blocks=True)
    words = f'it is a dead letter: {reasons}: "email-router dead-letters show {letter.id}"'
    return Clue("is dead", words, blocks=True)
