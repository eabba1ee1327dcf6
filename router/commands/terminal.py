"""How the commands read the environment, print and fail."""

import asyncio
import getpass
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Self, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from router import log
from router.errors import RouterError, UnknownName
from router.log import Level
from router.settings import Settings

PATIENCE: Final = 3.0
"""Seconds after which it is said what a command waits for."""

_LONGEST_LINE: Final = 64 << 10  # bytes

Result = TypeVar("Result")


def carry_out(
    work: Callable[[Settings], Coroutine[Any, Any, Result]], *, serves: bool = False, least: Level = "warning"
) -> Result:
    """Do a command's work. What an admin can put right is said in words, and ends with status 1.

    A name that is nowhere to be found is a fault of the usage: it ends with status 2, as a wrong option does.
    A command that does not serve logs what is at least as grave as `least`, unless the environment names a level.
    """
    try:
        settings = Settings.read()
        told = serves or "log_level" in settings.model_fields_set
        log.configure(settings.log_level if told else least, settings.log_format if told else "console")
        return uvloop.run(work(settings))
    except UnknownName as error:
        raise typer.BadParameter(str(error)) from None
    except RouterError as error:
        complain(str(error))
        raise typer.Exit(1) from None


def say(text: str = "") -> None:
    """Print to stdout."""
    _console().print(_shown(text))


def say_marked(mark: str, style: str, text: str) -> None:
    """Print a line to stdout that begins with a mark, in color where it is a terminal."""
    _console().print(Text(mark, style), Text(_shown(text)), sep="")


def complain(text: str) -> None:
    """Print to stderr, in red where it is a terminal."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(_shown(text), style="red")


def say_json(value: Any) -> None:
    """Print one JSON document to stdout: times in ISO 8601, ids as text, what would steer a terminal as escapes."""
    sys.stdout.write(log.harmless(json.dumps(value, ensure_ascii=False, indent=2, default=_plain)) + "\n")


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; where nobody's terminal limits it, no cell is wrapped or cut."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_shown(str(cell)) for cell in row))
    console = _console(soft_wrap=False)
    if console.is_terminal:
        console.print(table)
        return
    console.width = 10_000
    with console.capture() as written:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in written.get().splitlines()))


@contextmanager
def told_if_slow(what: str) -> Iterator[None]:
    """Say on stderr what is waited for, where it takes longer than `PATIENCE`. The loop has to run."""

    def tell() -> None:
        sys.stderr.write(f"{what} …\n")
        sys.stderr.flush()

    handle = asyncio.get_running_loop().call_later(PATIENCE, tell)
    try:
        yield
    finally:
        handle.cancel()


async def read_line(prompt: str) -> str | None:
    """Ask on stderr for a line of stdin; None at its end. Who is canceled leaves a thread that reads on: call it last.

    A thread that waits in `input` would keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        told = b""
        with suppress(OSError):  # there may be no stdin
            while not told.endswith(b"\n") and len(told) < _LONGEST_LINE and (piece := os.read(0, _LONGEST_LINE)):
                told += piece
        with suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(tell, told)

    def tell(told: bytes) -> None:
        if not line.done():
            line.set_result(told)

    sys.stderr.write(f"{prompt}: ")
    sys.stderr.flush()
    threading.Thread(target=read, name="read a line", daemon=True).start()
    try:
        return (await line).decode(errors="replace") or None
    except asyncio.CancelledError:
        sys.stderr.write("\n")
        raise


def confirm(question: str) -> None:
    """Ask on stderr whether to go on; who says no ends the command with status 1. An answer may come through a pipe.

    Raises typer.BadParameter where nobody answers.
    """
    try:
        if typer.confirm(question, err=True):
            return
    except typer.Abort:
        if sys.stdin.isatty():
            raise  # by Ctrl-C
        sys.stderr.write("\n")
        raise typer.BadParameter(
            "nobody is there to answer: say --yes, and nothing is asked", param_hint="--yes"
        ) from None
    complain("nothing was done")
    raise typer.Exit(1)


class Progress:
    """How many of `total` are done, on stderr where it is a terminal, while it is entered."""

    def __init__(self, doing: str, total: int) -> None:
        self._doing = doing
        self._total = total
        self._done = 0
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status = Status("", console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    @contextmanager
    def advanced(self) -> Iterator[None]:
        """One more is done; what is printed meanwhile is not disturbed."""
        self._done += 1
        if self._status is not None:
            self._status.stop()
        yield
        self._show()

    def _show(self) -> None:
        if self._status is not None:
            self._status.update(f"{self._doing} {self._done} of {self._total}")
            self._status.start()


class Doing:
    """What is done at this moment, on stderr where it is a terminal, while it is entered."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status = Status(doing, console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, what: str) -> None:
        """Show what is done by now."""
        if self._status is not None:
            self._status.update(Text(_shown(f"{self._doing} {what}")))


def _console(*, soft_wrap: bool = True) -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def _shown(text: str) -> str:
    """Leave out what would steer the terminal: names come from the CRM, and faults from strangers' servers."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def who() -> str:
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "an administrator"
