"""Several reads, or several writes, in one round trip to PostgreSQL: each is one term of a WITH.

A part stands beside the method that needs it, with its own $1, $2 … and its own arguments; here they are numbered
anew and put together.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from asyncpg import Record

from router.repository.database import Connection

_PARAMETER: Final = re.compile(r"\$(\d+)")


class _Parts:
    """The parts of one statement, by their names, and the arguments of all of them."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._arguments: list[object] = []

    def add(self, name: str, sql: str, *arguments: object) -> None:
        """Add a part; in `sql`, $1 is the first of these arguments."""
        before = len(self._arguments)
        self._parts[name] = _PARAMETER.sub(lambda found: f"${int(found[1]) + before}", sql)
        self._arguments += arguments

    async def _run(self, connection: Connection, selected: str) -> list[Record]:
        parts = ", ".join(f"{name} AS ({sql})" for name, sql in self._parts.items())
        sql = f"WITH {parts} SELECT {selected}"
        return await connection.fetch(sql, *self._arguments)


class Reads(_Parts):
    """Several SELECTs that see the same state of the database."""

    async def run(self, connection: Connection) -> Record:
        """Ask; by the name of each part, its rows as tuples."""
        arrays = [f"ARRAY(SELECT {name} FROM {name}) AS {name}" for name in self._parts]  # noqa: S608  our names
        (row,) = await self._run(connection, ", ".join(arrays))
        return row


class Writes(_Parts):
    """Several INSERTs and UPDATEs.

    All of them see the database as it was before the first. What another part has written they see by its name, as far
    as it is RETURNING that; a part that names another runs after it.
    """

    def insert(
        self,
        name: str,
        table: str,
        columns: Mapping[str, str],
        records: Sequence[Sequence[object]],
        end: str = "",
        *,
        numbers: str | None = None,
    ) -> None:
        """Add an INSERT of many rows; `columns` are names with SQL types, `end` a RETURNING or an ON CONFLICT.

        `numbers` is the sequence of an identity column `id`, where some of the records have their ids already.
        """
        of_columns = list(zip(*records, strict=True)) if records else [()] * len(columns)
        unnested, selected = [], []
        for number, (column, kind) in enumerate(columns.items(), 1):
            # PostgreSQL has no arrays of arrays of different lengths, so those cross as JSON.
            is_array = kind.endswith("[]")
            unnested.append(f"${number}::{'json' if is_array else kind}[]")
            if numbers and column == "id":
                selected.append(f"coalesce(w.id, nextval('{numbers}'))")
            else:
                selected.append(
                    f"ARRAY(SELECT json_array_elements_text(w.{column}))::{kind}" if is_array else f"w.{column}"
                )
        names = ", ".join(columns)
        self.add(
            name,
            f"INSERT INTO {table} ({names}) {'OVERRIDING SYSTEM VALUE' if numbers else ''} "  # noqa: S608  all ours
            f"SELECT {', '.join(selected)} "
            f"FROM unnest({', '.join(unnested)}) AS w ({names}) {end}",
            *(
                [json.dumps(value) for value in values] if kind.endswith("[]") else list(values)
                for values, kind in zip(of_columns, columns.values(), strict=True)
            ),
        )

    async def run(self, connection: Connection, selected: str = "") -> list[Record]:
        """Write, and return what is selected, such as the rows `FROM` a part."""
        return await self._run(connection, selected)
