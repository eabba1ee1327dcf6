"""A database whose statements break as a test says, each known by where in the router it stands.

Which statements there are is recorded while they run, so that no test has to list them.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import asyncpg

import router.repository
from router.repository.database import Connection, Database

_HERE = Path(router.repository.__file__).parent
_BETWEEN = {"round_trip.py", "database.py"}
_CALLS = frozenset({"execute", "executemany", "fetch", "fetchrow", "fetchval"})

Breaks = Callable[[str, tuple[object, ...]], str | BaseException | None]
"""Of a statement, by its place and arguments: the SQLSTATE or exception that it ends with, "lost", or None."""


def unbroken(_place: str, _arguments: tuple[object, ...]) -> None:
    """Break nothing."""


def once(place: str, how: str | Exception) -> Breaks:
    """Break the first statement that stands there."""
    left = [how]
    return lambda at, _arguments: left.pop() if at == place and left else None


class Breaking(Database):
    """`breaks` is asked before each statement; `ran` are the places of all that were to run, with how often."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.ran: dict[str, int] = {}
        self.breaks: Breaks = unbroken

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            yield cast("Connection", _Asking(connection, self))

    async def ask(self, connection: Connection, arguments: tuple[object, ...]) -> None:
        place = _place()
        self.ran[place] = self.ran.get(place, 0) + 1
        how = self.breaks(place, arguments)
        if isinstance(how, BaseException):
            raise how
        if how == "lost":
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        elif how is not None:
            # By the server, so that the transaction is broken, too.
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = '{how}'; END $$")


class _Asking:
    """A connection whose statements are asked about."""

    def __init__(self, connection: Connection, database: Breaking) -> None:
        self._connection = connection
        self._database = database

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in _CALLS:
            return found

        async def call(statement: str, *arguments: object, **more: Any) -> Any:
            await self._database.ask(self._connection, arguments)
            return await found(statement, *arguments, **more)

        return call


def _place() -> str:
    """Say where the statement stands: file and function."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if _HERE in file.parents and file.name not in _BETWEEN:
            return f"{file.stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    raise AssertionError("a statement that is not the router's")


def names(arguments: object, marks: Iterable[object]) -> bool:
    """Whether one of these values is among the arguments of a statement, however deep."""
    if isinstance(arguments, list | tuple):
        return any(names(one, marks) for one in arguments)
    if isinstance(arguments, str) and arguments[:1] in ("[", "{"):
        return names(list(_leaves(json.loads(arguments))), marks)
    return arguments in marks if not isinstance(arguments, asyncpg.Record) else False


def _leaves(value: object) -> Iterable[object]:
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _leaves(one)
    else:
        yield value
