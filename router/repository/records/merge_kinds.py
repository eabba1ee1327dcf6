"""All that names a record, and is moved to another when the two are merged: which rows, and how.

Each kind is a column. Its rows are known by a key, mostly their email; what one key has is moved together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

PIECE: Final = 300
"""Keys that one transaction moves."""


@dataclass(frozen=True, slots=True)
class Kind:
    """SQL for what one column names: of the record $1, for the record $2, of the keys $3 (text[]).

    `find` returns some keys, and locks their rows; `left` is a query for EXISTS, of all that is not set aside. `before`
    is done before the statements of `move`, each of which returns how many rows it moved.
    """

    name: str
    find: str
    left: str
    before: Sequence[str]
    move: Sequence[str]
    counted: Literal["parties", "emails"] | None = None
    of_email: bool = False


def _found(name: str, key: str, rows: str, alias: str) -> tuple[str, str]:
    """Queries for the keys of some rows, and for whether there are any."""
    left = f"""
        SELECT {alias}.{key} AS key {rows} AND $2::uuid IS NOT NULL AND NOT EXISTS (
            SELECT FROM router.merge_refused AS f WHERE (f.from_id, f.kind, f.key) = ($1, '{name}', {alias}.{key}::text)
        )
    """  # noqa: S608  # constants
    find = f"""
        SELECT DISTINCT found.key::text AS key
        FROM ({left} LIMIT {PIECE} FOR NO KEY UPDATE OF {alias} SKIP LOCKED) AS found
    """  # noqa: S608  # constants
    return find, left


def _kind(
    table: str,
    column: str,
    key: str = "email_id",
    key_type: str = "uuid",
    *,
    only_one_per: Sequence[str] = (),
    to: str = "$2",
    before: Sequence[str] = (),
    move: str | None = None,
    counted: Literal["parties", "emails"] | None = None,
) -> Kind:
    """The rows of a table that name a record in a column; known by `key`. `only_one_per`: of several one stays.

    They are moved by giving the column the value of `to`, or by the statement `move`.
    """
    find, left = _found(f"{table}.{column}", key, f"FROM {table} AS t WHERE t.{column} = $1", "t")
    # There may be few rows of a record, or a hundred thousand: in these words only the index of the key is used.
    these = f"t.{key} = k.key::{key_type} AND t.{column} IS NOT DISTINCT FROM $1"
    keys = "unnest($3::text[]) AS k (key)"
    moves = []
    if only_one_per:
        same = " AND ".join(f"o.{one} = t.{one}" for one in only_one_per)
        moves.append(f"""
            WITH gone AS (
                DELETE FROM {table} AS t USING {keys} WHERE {these}
                    AND EXISTS (SELECT FROM {table} AS o WHERE {same} AND o.{column} = $2) RETURNING 1
            )
            SELECT count(*) FROM gone
        """)  # noqa: S608  # constants
    moves.append(
        move
        or f"""
            WITH moved AS (UPDATE {table} AS t SET {column} = {to} FROM {keys} WHERE {these} RETURNING 1)
            SELECT count(*) FROM moved WHERE $2::uuid IS NOT NULL
        """  # noqa: S608  # constants
    )
    of_email = key == "email_id" or table == "crm.email"
    return Kind(f"{table}.{column}", find, left, before, moves, counted, of_email)


_TELL: Final = """
    INSERT INTO crm.event (kind, email_id, details)
    SELECT DISTINCT 'resolved', p.email_id, jsonb_build_object('address', p.address, 'record_id', $2::uuid,
        'old_record_id', $1::uuid, 'by', (SELECT m.by FROM router.merge AS m WHERE m.from_id = $1))
    FROM unnest($3::text[]) AS k (key) JOIN crm.party AS p ON p.email_id = k.key::uuid
    WHERE p.record_id IS NOT DISTINCT FROM $1
"""

# Before the party changes: a trigger takes from a ruling what else is said of its parties.
_RULED: Final = """
    UPDATE router.ruled_party AS r SET record_id = $2 FROM unnest($3::text[]) AS k (key)
    WHERE r.email_id = k.key::uuid AND r.record_id = $1 AND NOT EXISTS (
        SELECT FROM crm.party AS p
        WHERE (p.email_id, p.role, p.position, p.record_id) = (r.email_id, r.role, r.position, $2)
    )
"""

# Candidates have an address of the party, which is by now one of the record that stays.
_CANDIDATES: Final = """
    FROM (SELECT DISTINCT a.address FROM crm.address AS a WHERE a.record_id = $2) AS a
    JOIN crm.party AS p ON p.address = a.address
    WHERE p.record_id IS NULL AND p.candidates @> ARRAY[$1::uuid]
"""

_MOVE_CANDIDATES: Final = """
    WITH judged AS MATERIALIZED (
        -- Where the two were all there were, nobody has to say any more which one it is.
        SELECT p.email_id, p.role, p.position, p.address, o.others, o.others = ARRAY[$2::uuid] AND NOT EXISTS (
            SELECT FROM crm.party AS s
            WHERE (s.email_id, s.role, s.position, s.record_id) = (p.email_id, p.role, p.position, $2)
        ) AS is_resolved
        FROM unnest($3::text[]) AS k (key) JOIN crm.party AS p ON p.email_id = k.key::uuid
        CROSS JOIN LATERAL (SELECT array_replace(array_remove(p.candidates, $2), $1, $2) AS others) AS o
        WHERE p.record_id IS NULL AND p.candidates @> ARRAY[$1::uuid]
    ), moved AS (
        UPDATE crm.party AS p SET candidates = CASE WHEN j.is_resolved THEN '{}' ELSE j.others END,
            record_id = CASE WHEN j.is_resolved THEN $2 END
        FROM judged AS j
        WHERE p.record_id IS NULL AND (p.email_id, p.role, p.position) = (j.email_id, j.role, j.position)
        RETURNING p.email_id, p.address, j.is_resolved
    ), told AS (
        INSERT INTO crm.event (kind, email_id, details)
        SELECT DISTINCT 'resolved', m.email_id, jsonb_build_object(
            'address', m.address, 'record_id', $2, 'by', (SELECT g.by FROM router.merge AS g WHERE g.from_id = $1))
        FROM moved AS m WHERE m.is_resolved
    )
    SELECT count(*) FROM moved
"""

_CANDIDATES_NAME: Final = "crm.party.candidates"

ADDRESSES: Final = _kind("crm.address", "record_id", "address", "text", only_one_per=("address",))
"""Where they are a table: what was written while the merge began; the others it has moved."""

RECORDS: Final = _kind("crm.record", "owner_id", "id")
"""Where they are a table, and the merged one is somebody to whom records belong."""

KINDS: Final = (
    # What was ruled while the merge began.
    _kind(
        "router.ruling",
        "record_id",
        "id",
        "bigint",
        move="SELECT router.move_rulings($3::text[]::bigint[], $1, $2)",
    ),
    _kind("router.never_track", "owner_id", "pattern", "text", only_one_per=("pattern",)),
    _kind(
        "crm.party",
        "record_id",
        # Where the address was both records', there is a row for each.
        only_one_per=("email_id", "role", "position"),
        before=(_TELL, _RULED),
        counted="parties",
    ),
    _kind("crm.email", "regarding_id", "id", counted="emails"),
    _kind("crm.email", "owner_id", "id", counted="emails"),
    _kind("crm.receipt", "owner_id", only_one_per=("email_id",)),
    Kind(
        _CANDIDATES_NAME,
        *_found(_CANDIDATES_NAME, "email_id", _CANDIDATES, "p"),
        before=(),
        move=(_MOVE_CANDIDATES,),
        counted="parties",
        of_email=True,
    ),
    _kind("crm.case", "requester_id", "record_id"),
    # A case does not follow itself.
    _kind("crm.case", "follows_id", "record_id", to="nullif($2, t.record_id)"),
    _kind("crm.case", "owner_id", "record_id"),
    _kind("crm.queue_item", "record_id"),
    _kind("crm.queue_item", "owner_id", only_one_per=("email_id",)),
    _kind("router.creation", "record_id"),
    _kind("router.creation", "owner_id", only_one_per=("email_id",)),
)
