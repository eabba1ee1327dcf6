"""Where both schemas name an address: every column that can hold text, as the catalog has them, piece by piece.

A piece is a range of a table's pages, so it takes about as long whatever the table holds, and needs no key. What others
have locked is passed over. A table that is made later is searched as well, and so is a column that the CRM added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from router.repository.database import Connection, Database
from router.repository.erasure.named import Named

_PAGES: Final = 64  # that one piece reads, of 8 kB each

CRMS: Final = frozenset(
    {"crm.record", "crm.address", "crm.owner", "crm.template", "crm.creation_rule", "router.never_track"}
)
"""Tables that are the CRM's own, or say on purpose whose mail is not tracked: what they say is only counted."""

_ELSEWHERE: Final = frozenset({"router.sealed_rows", "router.kept_content"})  # what names it there goes as a whole

_FREE: Final = {
    # What is about to be sent is not changed behind the CRM's back.
    "crm.email": "t.status NOT IN ('pending_send', 'sending') AND $6 <> ''",
    # By its party an email is found that could not be erased yet.
    "crm.party": "t.address <> $6",
}
"""SQL for which rows `t` may be changed; $6 is the address."""

_WITHIN: Final = "t.ctid >= $3::text::tid AND t.ctid < $4::text::tid"

_TABLES: Final = """
    SELECT c.oid::regclass::text AS name,
        array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns,
        array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) AS types,
        c.relowner <> (SELECT relowner FROM pg_class WHERE oid = 'crm.email'::regclass) AS is_theirs
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
    WHERE c.relnamespace IN ('crm'::regnamespace, 'router'::regnamespace) AND c.relkind = 'r'
        AND (coalesce(e.typcategory, t.typcategory) = 'S' OR coalesce(e.typname, t.typname) IN ('json', 'jsonb', 'xml'))
        AND has_table_privilege(c.oid, 'SELECT')
    GROUP BY c.oid, c.relowner ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with its columns that can hold text and their types. `is_crms`: what it says is the CRM's."""

    name: str
    columns: Sequence[str]
    types: Sequence[str]
    is_crms: bool

    @property
    def goes_whole(self) -> bool:
        """Whether a row that names somebody is deleted, by who knows what it is."""
        return self.name in _ELSEWHERE

    @property
    def names_it(self) -> str:
        """SQL for whether a row `t` names what $1 (`Named.part`) and $2 (`Named.pattern`) are of."""
        return " OR ".join(map(_matches, self.columns))


async def list_tables(database: Database) -> list[Table]:
    """List the tables in which an address may be named."""
    async with database.connection() as connection:
        rows = await connection.fetch(_TABLES)
    return [Table(row["name"], row["columns"], row["types"], row["is_theirs"] or row["name"] in CRMS) for row in rows]


Pages = tuple[int, int]
"""From which page of a table to which, which is not among them."""


async def list_pieces(database: Database, table: Table) -> list[Pages]:
    """Cut a table as it is now into pieces."""
    async with database.connection() as connection:
        pages: int = await connection.fetchval(
            "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint", table.name
        )
    return [(first, first + _PAGES) for first in range(0, pages, _PAGES)]


async def count(database: Database, table: Table, named: Named, pages: Pages) -> int:
    """Count the rows of a piece that name it."""
    async with database.connection() as connection:
        found: int = await connection.fetchval(
            f"SELECT count(*) FROM {table.name} AS t WHERE {_WITHIN} AND ({table.names_it})",  # noqa: S608  # names of the catalog
            named.part,
            named.pattern,
            *_range(pages),
        )
    return found


async def take_out(database: Database, table: Table, named: Named, instead: str, pages: Pages) -> int:
    """Write `instead` wherever a piece names it; return how many rows were changed."""
    async with database.transaction() as connection:
        return await _take_out(connection, table, named, instead, pages)


async def _take_out(connection: Connection, table: Table, named: Named, instead: str, pages: Pages) -> int:
    await connection.execute("SET LOCAL email_router.restores = 'yes'")  # nothing of it is news
    free = _FREE.get(table.name, "$6 <> ''")
    written = ", ".join(
        f"{column} = {_rewritten(table, column, type_)}"
        for column, type_ in zip(table.columns, table.types, strict=True)
    )
    changed: int = await connection.fetchval(
        f"""
        WITH found AS MATERIALIZED (
            SELECT t.ctid AS place FROM {table.name} AS t
            WHERE {_WITHIN} AND ({table.names_it}) AND ({free})
            FOR UPDATE OF t SKIP LOCKED
        ), changed AS (
            UPDATE {table.name} AS t SET {written} WHERE t.ctid IN (SELECT place FROM found) RETURNING 1
        )
        SELECT count(*) + 0 * length($5) FROM changed
        """,  # noqa: S608  # names of the catalog
        named.part,
        named.pattern,
        *_range(pages),
        instead,
        named.address,
    )
    return changed


def _range(pages: Pages) -> tuple[str, str]:
    return f"({pages[0]},0)", f"({pages[1]},0)"


def _matches(column: str) -> str:
    # CASE: the quick look comes first.
    return f"CASE WHEN strpos(lower(t.{column}::text), $1) > 0 THEN t.{column}::text ~* $2 ELSE false END"


def _rewritten(table: Table, column: str, type_: str) -> str:
    if table.name == "crm.email" and column == "text_marks":
        # They count characters of the text.
        return f"CASE WHEN {_matches('text_body')} THEN NULL ELSE t.text_marks END"
    if table.name == "router.ruling_work" and column == "after_address":
        # How far a walk has come: in another order it would leave some out.
        return f"CASE WHEN {_matches(column)} THEN '' ELSE t.after_address END"
    if table.name == "crm.email" and column in ("raw_headers", "headers"):
        # A header has the name beside the address.
        kept = f"""(
            SELECT coalesce(jsonb_agg(h.header ORDER BY h.place), '[]')
            FROM jsonb_array_elements(t.{column}) WITH ORDINALITY AS h (header, place) WHERE NOT h.header::text ~* $2
        )"""  # noqa: S608  # constants
        return f"CASE WHEN {_matches(column)} THEN {kept} ELSE t.{column} END"
    return (
        f"CASE WHEN {_matches(column)} THEN regexp_replace(t.{column}::text, $2, $5, 'gi')::{type_} ELSE t.{column} END"
    )
