"""One piece of a walk through the parties of a subject: locked, and given what is in force for them."""

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from asyncpg import Record

from router.repository.database import Connection
from router.repository.rulings.subjects import address_of

NO_EMAIL: Final = UUID(int=0)
"""After which a walk begins."""


@dataclass(frozen=True, slots=True)
class Walk:
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
    def address(self) -> str:
        """The address of the parties, or @ and the domain; empty where the subject is mail without an address."""
        return address_of(self.subject)

    @property
    def begins(self) -> bool:
        """Whether this is its first piece."""
        return self.phase == "ruled" and self.after_email == NO_EMAIL

    @property
    def of_domain(self) -> bool:
        """Whether its subject is @ and a domain."""
        return self.subject.startswith("@")


_IN_FORCE: Final = """
    LEFT JOIN LATERAL router.rulings_on(l.address) AS r ON true
    -- A record that is not active any more resolves nothing.
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


async def rule_again(connection: Connection, walk: Walk) -> Record:
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
            -- A party that goes back to an older ruling was counted there.
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


async def rule_waiting(connection: Connection, walk: Walk) -> Record:
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
        walk.address,
        walk.after_address,
        walk.after_email,
        walk.passes_over,
    )
    assert row is not None
    return row
