"""Who a sender is, as persons ruled: made and undone by functions of the schema, as the CRM does; and carried out here.

    router.rule, router.undo_ruling    change what is in force for a subject, an address or a domain (migration 0045)
    carry_out                          brings the parties of that subject into line with it, a piece at a time

Nothing is remembered of what is to be changed. A walk goes through the parties that a ruling which is not in force any
more gave to its record, and then through those that are unresolved, and gives each what is in force by then: the record
of its address's own ruling, or else of its domain's, or none. So rulings, their undoing, and whoever carries them out
come in any order, and the end is the same; who is killed is followed by another.

Mail that comes meanwhile may have been decided on before the ruling was known. So a walk is the last only if it began
after all transactions had ended that had begun by then.

Nobody waits for this: what somebody else has locked is passed over, and a walk that passed something over is followed
by another. Each piece locks the work, then the parties in their order with a share of their emails, then the rulings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from asyncpg import Record

from router.errors import DatabaseError
from router.repository.database import Connection, Database
from router.repository.faults import is_locked, may_be_of_one
from router.repository.halves import by_halves_beside

Kind = Literal["resolve", "ignore-sender"]

PIECE: Final = 300
"""Parties that one transaction changes, but for those of its last email."""

_PATIENCE: Final = "200ms"  # for what the CRM has locked, as by a ruling in a transaction that is still open
_AGAIN: Final = timedelta(seconds=5)  # until what was passed over, or could not be done, is tried again
_NO_EMAIL: Final = UUID(int=0)
_REFUSED: Final = 3  # emails that the CRM's SQL may refuse, until the rest has to wait


@dataclass(frozen=True, slots=True)
class Made:
    """A ruling that was made, or why it was not."""

    ruling_id: int | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class Undone:
    """Whether a ruling was undone, or why it was not."""

    undone: bool
    refused: str | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """A ruling; `subject` is an address, or @ and a domain. `record` is the name of its record, as far as it has one.

    `is_done`: the mail that waited is in line with what is in force. `touched` counts the waiting parties that it
    resolved, `parties` those that are its record's by it now.
    """

    id: int
    kind: Kind
    subject: str
    record_id: UUID | None
    record: str | None
    by: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None
    replaced_by: int | None
    in_force: bool
    is_done: bool
    touched: int
    parties: int


async def rule(
    database: Database, kind: Kind, subject: str, record_id: UUID | None, by: str, expected: int | None
) -> Made:
    """Make a ruling; `expected` is the one that is in force on the subject so far, None if none is."""
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT ruling_id, refused FROM router.rule($1, $2, $3, $4, $5)", kind, subject, record_id, by, expected
        )
    assert row is not None
    return Made(row["ruling_id"], row["refused"])


async def undo(database: Database, ruling_id: int, by: str) -> Undone:
    """Undo a ruling."""
    async with database.transaction() as connection:
        row = await connection.fetchrow("SELECT undone, refused FROM router.undo_ruling($1, $2)", ruling_id, by)
    assert row is not None
    return Undone(row["undone"], row["refused"])


_LISTED: Final = """
    SELECT r.id, r.kind, r.subject, r.record_id, x.name AS record, r.by, r.at, r.undone_by, r.undone_at, r.replaced_by,
        r.in_force, r.is_done, r.touched, r.parties
    FROM crm.ruling AS r
    LEFT JOIN LATERAL (SELECT x.name::text FROM crm.record AS x WHERE x.id = r.record_id LIMIT 1) AS x ON true
"""


async def list_rulings(
    database: Database, *, limit: int, undone: bool = False, before: int | None = None
) -> list[Ruling]:
    """List rulings, the latest first; `undone` ones too, and those that were replaced, only where asked for.

    With `before` those that are older than this one.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            {_LISTED} WHERE ($2 OR r.undone_at IS NULL AND r.replaced_by IS NULL)
                AND r.id < coalesce($3, 9223372036854775807)
            ORDER BY r.id DESC LIMIT $1
            """,
            limit,
            undone,
            before,
        )
    return [_ruling(row) for row in rows]


async def find_ruling(database: Database, ruling_id: int) -> Ruling | None:
    """Find a ruling by its id."""
    async with database.connection() as connection:
        row = await connection.fetchrow(f"{_LISTED} WHERE r.id = $1", ruling_id)
    return _ruling(row) if row else None


async def touched(database: Database, ruling_id: int) -> int:
    """Tell how many waiting parties a ruling has resolved so far."""
    async with database.connection() as connection:
        number: int | None = await connection.fetchval("SELECT touched FROM router.ruling WHERE id = $1", ruling_id)
    return number or 0


async def rulings_in_force(database: Database, subject: str) -> list[Ruling]:
    """Find what is in force on an address, the ruling that counts first, or on @ and a domain."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            {_LISTED}
            WHERE r.subject = ANY(ARRAY[$1, '@' || router.domain_of($1)]) AND r.in_force
            ORDER BY r.subject = $1 DESC
            """,
            subject,
        )
    return [_ruling(row) for row in rows]


async def last_of(database: Database, by: str) -> int | None:
    """Find the last ruling of a person that is not undone."""
    async with database.connection() as connection:
        found: int | None = await connection.fetchval(
            "SELECT id FROM router.ruling WHERE by = $1 AND undone_at IS NULL ORDER BY id DESC LIMIT 1", by
        )
    return found


def _ruling(row: Record) -> Ruling:
    return Ruling(**row)


async def is_due(database: Database, subject: str) -> bool:
    """Whether something is to be carried out for a subject now; not where all is done, or the rest is put off."""
    async with database.connection() as connection:
        due: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM router.ruling_work WHERE subject = $1 AND try_at <= now())", subject
        )
    return due


async def carry_out(database: Database, subject: str | None = None) -> bool:
    """Carry out a piece of what is due, of any subject or of this one; and say whether there was something to do now.

    What fails, as where the CRM has locked the ruling, is put off, and lets the others pass. So is an email alone that
    a trigger of the CRM's does not let be changed.
    """
    async with database.connection() as connection:
        due: str | None = await connection.fetchval(
            """
            SELECT subject FROM router.ruling_work
            WHERE try_at <= now() AND ($1::text IS NULL OR subject = $1) ORDER BY try_at LIMIT 1
            FOR UPDATE SKIP LOCKED
            """,
            subject,
        )
    if due is None:
        return False
    try:
        await _carry_out_piece(database, due, PIECE)
    except DatabaseError as error:
        if is_locked(error) or not may_be_of_one(error) or not await _carry_out_beside(database, due):
            async with database.connection() as connection:
                await connection.execute(
                    "UPDATE router.ruling_work SET try_at = now() + $2 WHERE subject = $1", due, _AGAIN
                )
    return True


async def _carry_out_piece(database: Database, subject: str, size: int, *, passes_over: bool = False) -> None:
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
        await _carry_out(connection, subject, size, passes_over=passes_over)


async def _carry_out_beside(database: Database, subject: str) -> bool:
    """Carry out a piece in ever smaller ones, and pass over what is refused alone; False where too much of it is."""

    async def carry_out_some(some: Sequence[int]) -> None:
        await _carry_out_piece(database, subject, len(some))

    async def pass_over(_: int, __: DatabaseError) -> None:
        await _carry_out_piece(database, subject, 1, passes_over=True)

    return await by_halves_beside(range(PIECE), carry_out_some, pass_over, _REFUSED) is None


@dataclass(frozen=True, slots=True)
class _Walk:
    """How far a walk has come: in which of its two phases, and after which party.

    The next piece has `size` parties and what else its last email has; if the walk `passes_over` it, it stays as it is.
    """

    subject: str
    phase: Literal["ruled", "waiting"]
    after_address: str
    after_email: UUID
    size: int
    passes_over: bool

    @property
    def begins(self) -> bool:
        return self.phase == "ruled" and self.after_email == _NO_EMAIL

    @property
    def of_domain(self) -> bool:
        return self.subject.startswith("@")


async def _carry_out(connection: Connection, subject: str, size: int, *, passes_over: bool) -> None:
    row = await connection.fetchrow(
        """
        UPDATE router.ruling_work AS w SET boundary = coalesce(w.boundary, pg_current_xact_id())
        WHERE w.subject = (
            SELECT subject FROM router.ruling_work WHERE subject = $1 AND try_at <= now() FOR UPDATE SKIP LOCKED
        )
        RETURNING w.phase, w.after_address, w.after_email
        """,
        subject,
    )
    if row is None:
        return  # another process was quicker
    walk = _Walk(subject, **row, size=size, passes_over=passes_over)
    if walk.begins and not await _may_begin(connection, subject):
        return
    found = await (_rule_again(connection, walk) if walk.phase == "ruled" else _rule_waiting(connection, walk))
    await _count(connection, found["touched"])
    await _advance(connection, walk, found)


async def _may_begin(connection: Connection, subject: str) -> bool:
    """Tell whether a walk is to begin now, and note whether it is the last."""
    row = await connection.fetchrow(
        # Another statement than the one that set the boundary, so that it sees who had begun by then.
        """
        UPDATE router.ruling_work SET is_last = pg_snapshot_xmin(pg_current_snapshot()) >= boundary
        WHERE subject = $1 RETURNING is_last, is_walked
        """,
        subject,
    )
    assert row is not None
    if row["is_last"] or not row["is_walked"]:
        return True
    await connection.execute("UPDATE router.ruling_work SET try_at = now() + $2 WHERE subject = $1", subject, _AGAIN)
    return False


_IN_FORCE: Final = """
    LEFT JOIN LATERAL router.rulings_on(l.address) AS r ON true
    -- One that is not active any more resolves nothing.
    LEFT JOIN LATERAL (SELECT x.id FROM crm.record AS x WHERE x.id = r.record_id AND x.active LIMIT 1) AS x ON true
"""

# Of most addresses and records there are few parties, and of some a hundred thousand. In these words no index of theirs
# is used, only that of the email.
_SAME_ADDRESS: Final = "p.address IS NOT DISTINCT FROM w.address"
_SAME_RECORD: Final = "p.record_id IS NOT DISTINCT FROM w.record_id"

_LOCKS: Final = "FOR UPDATE OF p SKIP LOCKED FOR KEY SHARE OF e SKIP LOCKED"

_FOUND: Final = """
    SELECT piece.number, piece.number > (SELECT count(*) FROM locked) AS missed, last.address, last.email_id,
        ARRAY(SELECT (ruling_id, number) FROM counts) AS touched
    FROM (SELECT count(*) AS number FROM piece) AS piece
    LEFT JOIN LATERAL (SELECT address, email_id FROM piece ORDER BY address DESC, email_id DESC LIMIT 1) AS last ON true
"""


async def _rule_again(connection: Connection, walk: _Walk) -> Record:
    """Give the parties of rulings that are not in force what is in force by now, or leave them unresolved again."""
    stale = (
        "SELECT id FROM router.ruling WHERE subject = $1 AND (undone_at IS NOT NULL OR replaced_by IS NOT NULL)"
        if walk.of_domain
        # Where it has a ruling of its own by now, that of its domain does not count for it.
        else """
            SELECT r.id FROM router.ruling AS r
            WHERE r.subject IN ($1, '@' || router.domain_of($1)) AND r.id NOT IN (SELECT id FROM router.rulings_on($1))
        """
    )
    address = "" if walk.of_domain else "AND p.address = $1"
    row = await connection.fetchrow(
        f"""
        WITH piece AS MATERIALIZED (
            SELECT p.* FROM ({stale}) AS s CROSS JOIN LATERAL (
                SELECT p.* FROM router.ruled_party AS p
                WHERE p.ruling_id = s.id {address} AND (p.address, p.email_id) > ($2, $3)
                ORDER BY p.address, p.email_id FETCH FIRST {walk.size} ROWS WITH TIES
            ) AS p
            ORDER BY p.address, p.email_id FETCH FIRST {walk.size} ROWS WITH TIES
        ), locked AS MATERIALIZED (
            SELECT w.* FROM piece AS w
            JOIN crm.party AS p USING (email_id, role, position)
            JOIN crm.email AS e ON e.id = p.email_id
            WHERE {_SAME_RECORD} AND {_SAME_ADDRESS} AND NOT $4
            ORDER BY w.address, w.email_id, w.role, w.position {_LOCKS}
        ), judged AS MATERIALIZED (
            SELECT l.*, r.id AS new_ruling_id, r.by, x.id AS new_record_id FROM locked AS l {_IN_FORCE}
        ), free AS MATERIALIZED (
            -- Where the CRM has added a party of that record, or an unresolved one, it stays as it is.
            SELECT n.*, n.new_record_id IS DISTINCT FROM n.record_id AS is_other, EXISTS (
                SELECT FROM crm.party AS p
                WHERE p.email_id = n.email_id AND p.role = n.role AND p.position = n.position
                    AND p.record_id IS NOT DISTINCT FROM n.new_record_id
                    AND n.record_id IS DISTINCT FROM n.new_record_id
            ) AS is_taken FROM judged AS n
        ), changed AS (
            UPDATE crm.party AS p SET record_id = f.new_record_id FROM free AS f
            WHERE f.is_other AND NOT f.is_taken
                AND (p.email_id, p.role, p.position) = (f.email_id, f.role, f.position)
                AND p.record_id IS NOT DISTINCT FROM f.record_id
        ), kept AS (
            UPDATE router.ruled_party AS p SET ruling_id = f.new_ruling_id, record_id = f.new_record_id FROM free AS f
            WHERE f.new_record_id IS NOT NULL AND NOT f.is_taken
                AND (p.email_id, p.role, p.position) = (f.email_id, f.role, f.position)
        ), dropped AS (
            DELETE FROM router.ruled_party AS p USING free AS f
            WHERE (f.new_record_id IS NULL OR f.is_taken)
                AND (p.email_id, p.role, p.position) = (f.email_id, f.role, f.position)
        ), gone AS (
            DELETE FROM router.ruled_party AS p USING piece AS w
            WHERE (p.email_id, p.role, p.position) = (w.email_id, w.role, w.position) AND NOT EXISTS (
                SELECT FROM crm.party AS p
                WHERE (p.email_id, p.role, p.position) = (w.email_id, w.role, w.position)
                    AND {_SAME_RECORD} AND {_SAME_ADDRESS}
            )
        ), told AS (
            INSERT INTO crm.event (kind, email_id, details)
            SELECT DISTINCT CASE WHEN f.new_record_id IS NULL THEN 'unresolved' ELSE 'resolved' END, f.email_id,
                jsonb_strip_nulls(jsonb_build_object('address', f.address, 'record_id', f.new_record_id,
                    'old_record_id', f.record_id, 'ruling_id', coalesce(f.new_ruling_id, f.ruling_id), 'by', f.by))
            FROM free AS f WHERE f.is_other AND NOT f.is_taken
        ), counts AS (
            -- What is given back to an older one, that one has counted.
            SELECT new_ruling_id AS ruling_id, count(*) AS number FROM free
            WHERE new_record_id IS NOT NULL AND NOT is_taken AND new_ruling_id > ruling_id GROUP BY new_ruling_id
        )
        {_FOUND}
        """,  # noqa: S608  # constants
        walk.subject,
        walk.after_address,
        walk.after_email,
        walk.passes_over,
    )
    assert row is not None
    return row


async def _rule_waiting(connection: Connection, walk: _Walk) -> Record:
    """Give unresolved parties the record of what is in force; and have them wait for a person, or not, as that says."""
    address = "" if walk.of_domain else "AND p.address = $1"
    row = await connection.fetchrow(
        f"""
        WITH piece AS MATERIALIZED (
            SELECT p.email_id, p.role, p.position, p.address FROM crm.party AS p
            WHERE p.record_id IS NULL AND substring(p.address FROM '[^@]*$') = router.domain_of($1) {address}
                AND (p.address, p.email_id) > ($2, $3)
            ORDER BY p.address, p.email_id FETCH FIRST {walk.size} ROWS WITH TIES
        ), locked AS MATERIALIZED (
            SELECT p.email_id, p.role, p.position, p.address FROM piece AS w
            JOIN crm.party AS p USING (email_id, role, position)
            JOIN crm.email AS e ON e.id = p.email_id
            WHERE p.record_id IS NULL AND {_SAME_ADDRESS} AND NOT $4
            ORDER BY p.address, p.email_id, p.role, p.position {_LOCKS}
        ), judged AS MATERIALIZED (
            SELECT l.*, r.id AS ruling_id, r.kind, r.by, x.id AS record_id, x.id IS NOT NULL AND NOT EXISTS (
                SELECT FROM crm.party AS p
                WHERE p.email_id = l.email_id AND p.role = l.role AND p.position = l.position
                    AND p.record_id IS NOT DISTINCT FROM x.id
            ) AS is_resolved FROM locked AS l {_IN_FORCE}
        ), changed AS (
            UPDATE crm.party AS p SET record_id = n.record_id FROM judged AS n
            WHERE n.is_resolved AND p.record_id IS NULL
                AND (p.email_id, p.role, p.position) = (n.email_id, n.role, n.position)
        ), ruled AS (
            INSERT INTO router.ruled_party (email_id, role, position, address, record_id, ruling_id)
            SELECT email_id, role, position, address, record_id, ruling_id FROM judged WHERE is_resolved
            ON CONFLICT (email_id, role, position) DO UPDATE
                SET address = excluded.address, record_id = excluded.record_id, ruling_id = excluded.ruling_id
        ), ignored AS (
            DELETE FROM router.unresolved_email AS q USING judged AS n
            WHERE n.kind = 'ignore-sender' AND n.role = 'from' AND n.position = 0 AND q.email_id = n.email_id
        ), queued AS (
            INSERT INTO router.unresolved_email (email_id, address, domain, owner_id, received_at)
            SELECT e.id, n.address, router.domain_of(n.address), e.owner_id, coalesce(e.received_at, e.created_at)
            FROM judged AS n JOIN crm.email AS e ON e.id = n.email_id
            WHERE n.role = 'from' AND n.position = 0 AND NOT n.is_resolved AND n.kind IS DISTINCT FROM 'ignore-sender'
                AND e.direction = 'in' AND e.correlation_method IS DISTINCT FROM 'report'
                AND NOT EXISTS (SELECT FROM router.unresolved_email AS q WHERE q.email_id = n.email_id)
            ON CONFLICT DO NOTHING
        ), told AS (
            INSERT INTO crm.event (kind, email_id, details)
            SELECT DISTINCT 'resolved', n.email_id, jsonb_build_object(
                'address', n.address, 'record_id', n.record_id, 'ruling_id', n.ruling_id, 'by', n.by)
            FROM judged AS n WHERE n.is_resolved
        ), counts AS (
            SELECT ruling_id, count(*) AS number FROM judged WHERE is_resolved GROUP BY ruling_id
        )
        {_FOUND}
        """,  # noqa: S608  # constants
        walk.subject,
        walk.after_address,
        walk.after_email,
        walk.passes_over,
    )
    assert row is not None
    return row


async def _count(connection: Connection, touched: Sequence[tuple[int, int]]) -> None:
    for ruling_id, number in sorted(touched):
        await connection.execute("UPDATE router.ruling SET touched = touched + $2 WHERE id = $1", ruling_id, number)


async def _advance(connection: Connection, walk: _Walk, found: Record) -> None:
    """Note how far a walk has come; at its end, begin another, or take the work away."""
    if found["number"] >= walk.size:
        await connection.execute(
            """
            UPDATE router.ruling_work
            -- The other subjects that are due have their turn now.
            SET after_address = $2, after_email = $3, passed_over = passed_over OR $4, try_at = now() WHERE subject = $1
            """,
            walk.subject,
            found["address"],
            found["email_id"],
            found["missed"],
        )
    elif walk.phase == "ruled":
        await connection.execute(
            """
            UPDATE router.ruling_work SET phase = 'waiting', after_address = '', after_email = $2,
                passed_over = passed_over OR $3, try_at = now()
            WHERE subject = $1
            """,
            walk.subject,
            _NO_EMAIL,
            found["missed"],
        )
    else:
        await connection.execute(
            """
            WITH ended AS (
                DELETE FROM router.ruling_work WHERE subject = $1 AND is_last AND NOT passed_over AND NOT $4 RETURNING 1
            )
            UPDATE router.ruling_work SET phase = 'ruled', after_address = '', after_email = $2,
                is_walked = NOT (passed_over OR $4), passed_over = false, try_at = now() + $3
            WHERE subject = $1 AND NOT EXISTS (SELECT FROM ended)
            """,
            walk.subject,
            _NO_EMAIL,
            _AGAIN,
            found["missed"],
        )
