"""Work for workers: what goes well, and every way in which it can go wrong. They import this module, so it is small."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from router.html.frame import Framed
from router.model import Reading, Unwrapped
from router.read import read
from router.unwrap import Trust, unwrap


def work(what: str, argument: str) -> tuple[str, int]:
    """Do what is said; the answer is the argument, and the id of the process that did it."""
    WAYS[what](argument)
    return Uncrossing(argument) if what == "answer oddly" else argument, os.getpid()


class Uncrossing(str):
    """An answer that no process can hand to another."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise ValueError(str(self))


def hang(file: str) -> None:
    """Say in the file who hangs, and do so as long as it is there."""
    Path(file).write_text(str(os.getpid()))
    while Path(file).exists():
        pass


def as_it_is(html: str, _: Mapping[str, str]) -> Framed:
    """Leave nothing out of HTML."""
    return Framed(html)


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_once(file: str) -> None:
    """As if killed from outside, if the file is not there yet."""
    if not Path(file).exists():
        Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def hang_once(file: str) -> None:
    """Say in the file who hangs, if it is not there yet."""
    if not Path(file).exists():
        Path(file).write_text(str(os.getpid()))
        signal.pause()


def fail(words: str) -> None:
    raise ValueError(words)


WAYS: Mapping[str, Callable[[str], object]] = {
    "say": str,
    "answer oddly": str,
    "print": print,
    "hang": hang,
    "exit": lambda _: os._exit(3),
    "crash": lambda _: crash(),
    "crash once": crash_once,
    "hang once": hang_once,
    "eat": lambda _: list(range(1 << 40)),
    "fail": fail,
}


def read_or_break(content: bytes, recipients: Sequence[str], authserv: str | None) -> Reading:
    """Read a message as the router does, but for those whose subjects say otherwise."""
    if b"\nSubject: hang" in content:
        time.sleep(3600)
    if b"\nSubject: crash" in content:
        crash()
    if b"\nSubject: fail" in content:
        fail("the secret words of a message")
    return read(content, recipients, authserv)


def unwrap_or_fail(content: bytes, trust: Trust) -> Unwrapped:
    """Unwrap a mail as the router does, but for those whose subjects say otherwise."""
    if b"\nSubject: fail" in content:
        fail("the secret words of a message")
    return unwrap(content, trust)
