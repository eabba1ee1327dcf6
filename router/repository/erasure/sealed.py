"""Sealing: an email leaves `crm` with all that hangs on it, and can come back as it was.

The rows are kept as JSON by table, and the catalog tells which tables there are: those of ours whose rows are deleted
with their email. So a new table, a new column, or a column of the CRM's own, is neither lost nor in the way.
"""

from typing import Final
from uuid import UUID

from router.repository.database import Connection

_EMAIL: Final = "crm.email"

# What waits to be acknowledged is not sealed: nobody is answered weeks later. The receipts go with who took them back.
# The queue of unresolved senders is made anew of the parties, by the rulings that are in force then.
_LEFT_OUT: Final = ["router.acknowledgement", "crm.receipt", "router.unresolved_email"]

# What events say of an email's people, and beside that of what it says.
_NAMES: Final = ("address", "sender", "subject")
_WORDS: Final = ("sender_name", "fields", "reason", "code", "fault")

_PARTS: Final = """
    SELECT c.conrelid::regclass::text AS relation, a.attname AS key
    FROM pg_constraint AS c
    JOIN pg_class AS t ON t.oid = c.conrelid
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.confrelid = 'crm.email'::regclass AND c.confdeltype = 'c'
        AND t.relnamespace IN ('crm'::regnamespace, 'router'::regnamespace)
        AND c.conrelid::regclass::text <> ALL($1::text[])
    ORDER BY relation
"""


async def seal(connection: Connection, email_id: UUID) -> None:
    """Move an email, which is locked by this transaction, out of the CRM's reach.

    Its events stay, and name nobody any more.
    """
    await connection.execute("INSERT INTO router.sealed (email_id) VALUES ($1)", email_id)
    parts = await connection.fetch(_PARTS, _LEFT_OUT)
    for relation, key in [(_EMAIL, "id"), *((part["relation"], part["key"]) for part in parts)]:
        await connection.execute(
            f"""
            INSERT INTO router.sealed_rows (email_id, relation, rows)
            SELECT $1, $2, jsonb_agg(to_jsonb(t)) FROM {relation} AS t WHERE t.{key} = $1 HAVING count(*) > 0
            """,  # noqa: S608  # names of the catalog
            email_id,
            relation,
        )
    digests: list[bytes] = await connection.fetchval(
        """
        WITH sealed AS (
            INSERT INTO router.sealed_content (email_id, sha256, encoding, content)
            SELECT $1, sha256, encoding, content FROM crm.blob
            WHERE sha256 IN (SELECT a.sha256 FROM crm.attachment AS a WHERE a.email_id = $1)
            RETURNING sha256
        )
        SELECT coalesce(array_agg(sha256), '{}') FROM sealed
        """,
        email_id,
    )
    await connection.execute("DELETE FROM crm.email WHERE id = $1", email_id)
    await delete_unneeded(connection, digests)
    await connection.execute(
        f"""
        UPDATE crm.event SET details = details - $2::text[]
        WHERE email_id = $1 AND details ?| '{{{",".join(_NAMES)}}}'::text[]
        """,  # noqa: S608  # constants, by which the index event_names is found
        email_id,
        [*_NAMES, *_WORDS],
    )


async def delete_unneeded(connection: Connection, digests: list[bytes]) -> int:
    """Delete those of these contents that no attachment has; one that somebody is about to attach is locked by them."""
    free: list[bytes] = await connection.fetchval(
        """
        SELECT coalesce(array_agg(sha256), '{}') FROM (
            SELECT sha256 FROM crm.blob WHERE sha256 = ANY($1::bytea[]) ORDER BY sha256 FOR UPDATE SKIP LOCKED
        ) AS b
        """,
        digests,
    )
    deleted: int = await connection.fetchval(
        # Another statement, since it must see what was attached until the lock was had.
        """
        WITH gone AS (
            DELETE FROM crm.blob AS b WHERE b.sha256 = ANY($1::bytea[])
                AND NOT EXISTS (SELECT FROM crm.attachment AS a WHERE a.sha256 = b.sha256)
            RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        free,
    )
    return deleted


async def unseal(connection: Connection, email_id: UUID) -> bool:
    """Put a sealed email back as it was, but for its receipts; False where none is sealed."""
    sealed = await connection.fetchval("SELECT email_id FROM router.sealed WHERE email_id = $1 FOR UPDATE", email_id)
    if sealed is None:
        return False
    await connection.execute("SET LOCAL email_router.restores = 'yes'")
    await connection.execute(
        """
        INSERT INTO crm.blob (sha256, encoding, content)
        SELECT sha256, encoding, content FROM router.sealed_content WHERE email_id = $1 ORDER BY sha256
        ON CONFLICT DO NOTHING
        """,
        email_id,
    )
    relations = await connection.fetch(
        "SELECT relation FROM router.sealed_rows WHERE email_id = $1 ORDER BY relation <> $2, relation",
        email_id,
        _EMAIL,
    )
    for row in relations:
        await _put_back(connection, email_id, row["relation"])
    await connection.execute("DELETE FROM router.sealed WHERE email_id = $1", email_id)
    await connection.execute("RESET email_router.restores")
    await _rule_again(connection, email_id)
    return True


async def _rule_again(connection: Connection, email_id: UUID) -> None:
    """Bring the parties into line with the rulings that were made or undone while the email was sealed."""
    await connection.execute(
        """
        UPDATE crm.party AS p SET record_id = NULL FROM router.ruled_party AS r
        WHERE r.email_id = $1 AND (p.email_id, p.role, p.position, p.record_id, p.address)
                = (r.email_id, r.role, r.position, r.record_id, r.address)
            AND r.ruling_id NOT IN (SELECT f.id FROM router.rulings_on(r.address) AS f)
            AND NOT EXISTS (
                SELECT FROM crm.party AS o
                WHERE (o.email_id, o.role, o.position) = (p.email_id, p.role, p.position) AND o.record_id IS NULL
            )
        """,
        email_id,
    )
    await connection.execute(
        """
        SELECT router.begin_ruling_work(a.address) FROM (
            SELECT DISTINCT p.address FROM crm.party AS p
            CROSS JOIN LATERAL router.rulings_on(p.address) AS f
            WHERE p.email_id = $1 AND p.record_id IS NULL AND f.kind = 'resolve'
            ORDER BY p.address
        ) AS a
        """,
        email_id,
    )


async def _put_back(connection: Connection, email_id: UUID, relation: str) -> None:
    """Put rows back into a table, which may have other columns by now."""
    columns: str | None = await connection.fetchval(
        """
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
        FROM router.sealed_rows AS s JOIN pg_attribute AS a ON a.attrelid = to_regclass(s.relation)
        WHERE s.email_id = $1 AND s.relation = $2
            AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND (s.rows -> 0) ? a.attname
        """,
        email_id,
        relation,
    )
    if columns is None:
        return  # the table is none any more
    await connection.execute(
        f"""
        INSERT INTO {relation} ({columns}) OVERRIDING SYSTEM VALUE
        SELECT {columns}
        FROM jsonb_populate_recordset(NULL::{relation}, (
            SELECT s.rows FROM router.sealed_rows AS s WHERE s.email_id = $1 AND s.relation = $2
        ))
        """,  # noqa: S608  # names of the catalog
        email_id,
        relation,
    )
