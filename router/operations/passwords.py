"""Passwords: what one must be, and Argon2id beside the loop, for one at a time.

One hash takes 64 MB and a tenth of a second of a processor. However many people, or programs, want to sign in at once,
mail has the others.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from router.errors import RouterError
from router.operations.backing import Refused

SHORTEST: Final = 12
"""Characters of a password, at least."""

LONGEST: Final = 256
"""Characters of a password, at most."""

_MOST_WAITING: Final = 24  # who wait for their turn: a few seconds; beyond them it is said to come later

_hasher: Final = PasswordHasher(time_cost=3, memory_cost=64 << 10, parallelism=1)  # RFC 9106 §4, with one lane
_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]] = WeakKeyDictionary()
_waiting: Final[set["asyncio.Task[Any]"]] = set()

Answer = TypeVar("Answer")


class Busy(RouterError):
    """It can be done, and not now."""


def check(password: str, name: str) -> None:
    """Raise Refused, with what is wrong, for a password that is none for the person of this name."""
    if len(password) < SHORTEST:
        raise Refused(f"a password has at least {SHORTEST} characters; a few words that belong together will do")
    if len(password) > LONGEST:
        raise Refused(f"a password has at most {LONGEST} characters")
    if name and name in password.lower() and len(password) < len(name) + SHORTEST:
        raise Refused("a password is not made of the name")
    if len(set(password)) < 5:
        raise Refused("a password has at least five different characters")


async def hashed(password: str) -> str:
    """Hash a password, in PHC form. Raises Busy where too many wait already."""
    return await _beside(lambda: _hasher.hash(_bytes(password)))


async def is_right(password: str, kept: str | None) -> bool:
    """Whether the password is the one that was kept; with None it takes as long, and is not."""
    return await _beside(lambda: _matches(password, kept))


def is_outdated(kept: str) -> bool:
    """Whether it was hashed in another way than now."""
    return _hasher.check_needs_rehash(kept)


def _matches(password: str, kept: str | None) -> bool:
    nobodys = _nobodys()  # for whoever comes first: else the first who has no password would take twice as long
    try:
        _hasher.verify(kept or nobodys, _bytes(password))
    except (Argon2Error, InvalidHashError):
        return False
    return kept is not None


@cache
def _nobodys() -> str:
    return _hasher.hash(b"nobody's")


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")[: 4 * LONGEST]


async def _beside(work: Callable[[], Answer]) -> Answer:
    """Work in a thread, in turn; who is canceled leaves the turn to the next only when the thread has ended."""
    if len(_waiting) >= _MOST_WAITING:
        raise Busy("too many people sign in at this moment: try again in a few seconds")
    task = asyncio.create_task(_in_turn(work))
    _waiting.add(task)
    task.add_done_callback(_waiting.discard)
    return await asyncio.shield(task)


async def _in_turn(work: Callable[[], Answer]) -> Answer:
    async with _turn():
        return await asyncio.to_thread(work)


def _turn() -> asyncio.Semaphore:
    """The turn of this loop: tests have many."""
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns[loop] = asyncio.Semaphore(1)
    return _turns[loop]
