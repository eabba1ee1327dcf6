"""Retention: what grows without end is pruned, in pieces that are small enough that nobody waits for them.

A walk goes through a table by its key, a piece at a time, each in a transaction of its own. How far it has come stands
in `router.pruning`: the processes take turns, and one that is stopped is followed by another. Rows that somebody works
with are passed over until the next walk.

What is still needed stays, however old it is:

- A decision whose copy waits for a person (held, dead) or whose place is not settled; whose source is at fault, since
  its cursor may still stand before the place; or whose source has had no mail since, because by its newest copies an
  account is recognized. Where decisions go, the start of their mailbox is put off to what they tell of: its folders may
  be read again from the beginning (UIDVALIDITY), and what is known no longer must not be judged as if it were new.
- The hash of a message or Message-ID for as long as its email is there: without it the next copy would be another
  email, and an answer would find nothing.
- The attempts of an email that is being sent, or whose outcome waits for a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from router.repository.database import Connection, Database

PIECE: Final = 1000
"""Rows that one piece looks at, at most."""

_BYTES: Final = 64 << 20  # of contents that one piece deletes, unless one alone is larger
_PAUSE: Final = timedelta(days=1)  # between two walks through a table


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long it is kept: what became of mail, hashes of erased email, events, attempts to send, and bounces.

    With `decisions` go the audit log, and what a ruling resolved, by which its undoing finds it. `taken_back`: for how
    long an email that was taken back can be restored.
    """

    decisions: timedelta = timedelta(days=730)
    hashes: timedelta = timedelta(days=3650)
    events: timedelta = timedelta(days=365)
    attempts: timedelta = timedelta(days=730)
    bounces: timedelta = timedelta(days=180)
    taken_back: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a walk: how many rows it deleted, and whether more is to come."""

    deleted: int
    more: bool


# Each takes $1 the key to go on after, and $2 the age; how many rows is a constant, so that it is planned for. It tells
# the last key of the piece (null: no row is left), how many rows it has, whether all are too young, and how many went.

_DECISIONS: Final = """
    WITH piece AS MATERIALIZED (
        SELECT id, source_id, decided_at, received_at, settled_at, disposition FROM router.decision
        WHERE id > coalesce(nullif($1, '')::bigint, 0) ORDER BY id LIMIT {piece}
    ), old AS MATERIALIZED (
        SELECT p.id, s.identity, least(p.received_at, p.decided_at) AS since
        FROM piece AS p JOIN router.source AS s ON s.id = p.source_id
        LEFT JOIN router.source_count AS c ON c.source_id = p.source_id
        WHERE p.decided_at < now() - $2::interval AND p.settled_at IS NOT NULL
            AND p.disposition NOT IN ('held', 'dead')
            AND (s.identity IS NULL OR s.fault IS NULL AND c.last_at >= now() - $2::interval)
    ), put_off AS (
        UPDATE router.source AS s SET begins_at = o.since
        FROM (SELECT identity, max(since) AS since FROM old WHERE identity IS NOT NULL GROUP BY identity) AS o
        WHERE s.identity = o.identity AND s.begins_at < o.since
        RETURNING s.id
    ), locked AS MATERIALIZED (
        -- The sources first: who holds a row here waits for nobody.
        SELECT d.id FROM router.decision AS d
        WHERE d.id IN (SELECT id FROM old) AND d.settled_at IS NOT NULL AND (SELECT count(*) FROM put_off) >= 0
            AND d.decided_at < now() - $2::interval
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM router.decision WHERE id IN (SELECT id FROM locked) RETURNING id
    )
    SELECT (SELECT max(id) FROM piece)::text AS last, (SELECT count(*) FROM piece) AS rows,
        NOT EXISTS (SELECT FROM piece WHERE decided_at < now() - $2::interval) AS young,
        (SELECT count(*) FROM gone) AS deleted
"""

_EVENTS: Final = """
    WITH piece AS MATERIALIZED (
        SELECT id, at FROM crm.event WHERE id > coalesce(nullif($1, '')::bigint, 0) ORDER BY id LIMIT {piece}
    ), locked AS MATERIALIZED (
        SELECT id FROM crm.event
        WHERE id IN (SELECT id FROM piece WHERE at < now() - $2::interval) FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM crm.event WHERE id IN (SELECT id FROM locked) RETURNING id, transaction, kind
    ), missed AS (
        SELECT w.id, count(*) AS number FROM router.webhook AS w
        JOIN gone AS g ON (g.transaction, g.id) > (w.transaction, w.event_id)
            AND (w.kinds = '{}' OR g.kind = ANY(w.kinds))
        GROUP BY w.id
    ), told AS (
        -- Who follows by a webhook was not told of these.
        UPDATE router.webhook AS w SET missed = w.missed + m.number, missed_at = now()
        FROM missed AS m WHERE w.id = m.id
    )
    SELECT (SELECT max(id) FROM piece)::text AS last, (SELECT count(*) FROM piece) AS rows,
        NOT EXISTS (SELECT FROM piece WHERE at < now() - $2::interval) AS young, (SELECT count(*) FROM gone) AS deleted
"""

_ATTEMPTS: Final = """
    WITH piece AS MATERIALIZED (
        SELECT id, email_id, finished_at FROM router.attempt
        WHERE id > coalesce(nullif($1, '')::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY id LIMIT {piece}
    ), locked AS MATERIALIZED (
        SELECT id FROM router.attempt WHERE id IN (
            SELECT p.id FROM piece AS p
            WHERE p.finished_at < now() - $2::interval
                AND NOT EXISTS (SELECT FROM router.outbox AS o WHERE o.email_id = p.email_id)
                AND NOT EXISTS (SELECT FROM router.unsent AS u WHERE u.email_id = p.email_id AND u.status = 'unknown')
        ) FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM router.attempt WHERE id IN (SELECT id FROM locked) RETURNING id
    )
    SELECT (SELECT id FROM piece ORDER BY id DESC LIMIT 1)::text AS last, (SELECT count(*) FROM piece) AS rows,
        false AS young, (SELECT count(*) FROM gone) AS deleted
"""

_ADDRESSES: Final = """
    WITH piece AS MATERIALIZED (
        SELECT address, last_at FROM crm.address_state WHERE address > $1 ORDER BY address LIMIT {piece}
    ), locked AS MATERIALIZED (
        SELECT s.address FROM crm.address_state AS s
        WHERE s.address IN (SELECT p.address FROM piece AS p WHERE p.last_at < now() - $2::interval)
            AND s.last_at < now() - $2::interval FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM crm.address_state WHERE address IN (SELECT address FROM locked) RETURNING 1
    )
    SELECT (SELECT max(address) FROM piece) AS last, (SELECT count(*) FROM piece) AS rows,
        false AS young, (SELECT count(*) FROM gone) AS deleted
"""

# What a ruling resolved longer ago stays as it is, whatever becomes of the ruling. One that is undone goes when nothing
# is by it any more.
_RULINGS: Final = """
    WITH piece AS MATERIALIZED (
        SELECT email_id, role, position, at FROM router.ruled_party
        WHERE email_id > coalesce(nullif($1, '')::uuid, '00000000-0000-0000-0000-000000000000')
        ORDER BY email_id FETCH FIRST {piece} ROWS WITH TIES
    ), locked AS MATERIALIZED (
        SELECT r.email_id, r.role, r.position FROM router.ruled_party AS r
        JOIN piece AS p USING (email_id, role, position)
        WHERE p.at < now() - $2::interval AND r.at < now() - $2::interval FOR UPDATE OF r SKIP LOCKED
    ), gone AS (
        DELETE FROM router.ruled_party AS r USING locked AS l
        WHERE (r.email_id, r.role, r.position) = (l.email_id, l.role, l.position) RETURNING 1
    ), undone AS (
        DELETE FROM router.ruling WHERE id IN (
            SELECT r.id FROM router.ruling AS r
            WHERE r.undone_at < now() - $2::interval
                AND NOT EXISTS (SELECT FROM router.ruled_party AS p WHERE p.ruling_id = r.id)
            ORDER BY r.id LIMIT {piece} FOR UPDATE SKIP LOCKED
        )
    )
    SELECT (SELECT email_id FROM piece ORDER BY email_id DESC LIMIT 1)::text AS last,
        (SELECT count(*) FROM piece) AS rows, false AS young, (SELECT count(*) FROM gone) AS deleted
"""

# What became no email is only a lock, so it goes with the decisions ($3).
_HASHES: Final = """
    WITH piece AS MATERIALIZED (
        SELECT {key} AS key, email_id, seen_at FROM {table}
        WHERE {key} > decode($1, 'hex') ORDER BY {key} LIMIT {{piece}}
    ), locked AS MATERIALIZED (
        SELECT {key} AS key FROM {table} AS t WHERE {key} IN (
            SELECT p.key FROM piece AS p
            WHERE p.seen_at < now() - CASE WHEN p.email_id IS NULL THEN $3::interval ELSE $2::interval END
                AND NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = p.email_id)
        -- As it is now, since another may have made it an email's meanwhile.
        ) AND t.seen_at < now() - $3::interval FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM {table} WHERE {key} IN (SELECT key FROM locked) RETURNING 1
    )
    SELECT (SELECT encode(key, 'hex') FROM piece ORDER BY key DESC LIMIT 1) AS last,
        (SELECT count(*) FROM piece) AS rows, false AS young, (SELECT count(*) FROM gone) AS deleted
"""

_CONTENTS: Final = """
    WITH piece AS MATERIALIZED (
        SELECT sha256, created_at FROM crm.blob WHERE sha256 > decode($1, 'hex') ORDER BY sha256 LIMIT {piece}
    ), locked AS MATERIALIZED (
        SELECT b.sha256, octet_length(b.content) AS size FROM crm.blob AS b
        WHERE b.sha256 IN (
            SELECT p.sha256 FROM piece AS p
            WHERE p.created_at < now() - $2::interval
                AND NOT EXISTS (SELECT FROM crm.attachment AS a WHERE a.sha256 = p.sha256)
        ) ORDER BY b.sha256 FOR UPDATE SKIP LOCKED
    ), chosen AS (
        SELECT sha256, sum(size) OVER (ORDER BY sha256) - size < {bytes} AS fits FROM locked
    ), gone AS (
        DELETE FROM crm.blob WHERE sha256 IN (SELECT sha256 FROM chosen WHERE fits) RETURNING 1
    )
    -- What is too much for this piece is the next one's.
    SELECT encode(coalesce(
            (SELECT sha256 FROM chosen WHERE fits AND EXISTS (SELECT FROM chosen WHERE NOT fits)
             ORDER BY sha256 DESC LIMIT 1),
            (SELECT sha256 FROM piece ORDER BY sha256 DESC LIMIT 1)
        ), 'hex') AS last,
        (SELECT count(*) FROM piece) AS rows, false AS young, (SELECT count(*) FROM gone) AS deleted
""".replace("{bytes}", str(_BYTES))

# As long as the email has a key, by which its copies are known.
_TAKEN_BACK: Final = """
    WITH piece AS MATERIALIZED (
        SELECT email_id, max(at) AS at FROM router.taken_back
        WHERE email_id > coalesce(nullif($1, '')::uuid, '00000000-0000-0000-0000-000000000000')
        GROUP BY email_id ORDER BY email_id LIMIT {piece}
    ), locked AS MATERIALIZED (
        SELECT t.email_id, t.owner_id FROM router.taken_back AS t
        WHERE t.email_id IN (
            SELECT p.email_id FROM piece AS p
            WHERE p.at < now() - $2::interval
                AND NOT EXISTS (SELECT FROM router.message AS m WHERE m.email_id = p.email_id)
        ) FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM router.taken_back WHERE (email_id, owner_id) IN (SELECT email_id, owner_id FROM locked) RETURNING 1
    )
    SELECT (SELECT email_id FROM piece ORDER BY email_id DESC LIMIT 1)::text AS last,
        (SELECT count(*) FROM piece) AS rows, false AS young, (SELECT count(*) FROM gone) AS deleted
"""

_AUDIT_LOG: Final = """
    WITH piece AS MATERIALIZED (
        SELECT id, at FROM router.audit_log WHERE id > coalesce(nullif($1, '')::bigint, 0) ORDER BY id LIMIT {piece}
    ), locked AS MATERIALIZED (
        SELECT id FROM router.audit_log
        WHERE id IN (SELECT id FROM piece WHERE at < now() - $2::interval) FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM router.audit_log WHERE id IN (SELECT id FROM locked) RETURNING id
    )
    SELECT (SELECT max(id) FROM piece)::text AS last, (SELECT count(*) FROM piece) AS rows,
        NOT EXISTS (SELECT FROM piece WHERE at < now() - $2::interval) AS young, (SELECT count(*) FROM gone) AS deleted
"""

WALKS: Final[Mapping[str, str]] = {
    "decisions": _DECISIONS,
    "events": _EVENTS,
    "attempts": _ATTEMPTS,
    "addresses": _ADDRESSES,
    "rulings": _RULINGS,
    "keys": _HASHES.format(table="router.message", key="key"),
    "ids": _HASHES.format(table="router.message_id", key="hash"),
    "contents": _CONTENTS,
    "taken_back": _TAKEN_BACK,
    "audit_log": _AUDIT_LOG,
}
"""The walks by name, as in `router.pruning`."""


async def take_piece(database: Database, what: str, retention: Retention) -> Piece:
    """Take one piece of a walk that is due, and that no other process takes a piece of at this moment."""
    async with database.transaction() as connection:
        after = await connection.fetchval(
            "SELECT after FROM router.pruning WHERE what = $1 AND begins_at <= now() FOR UPDATE SKIP LOCKED", what
        )
        if after is None:
            return Piece(0, more=False)
        return await _take(connection, what, after, retention)


async def _take(connection: Connection, what: str, after: str, retention: Retention) -> Piece:
    ages = {
        "decisions": [retention.decisions],
        "events": [retention.events],
        "attempts": [retention.attempts],
        "addresses": [retention.bounces],
        "rulings": [retention.decisions],
        "keys": [retention.hashes, retention.decisions],
        "ids": [retention.hashes, retention.decisions],
        "contents": [timedelta(days=1)],
        "taken_back": [retention.hashes],
        "audit_log": [retention.decisions],
    }
    row = await connection.fetchrow(WALKS[what].replace("{piece}", str(PIECE)), after, *ages[what])
    assert row is not None
    # A piece of contents can end before its last row.
    more = row["last"] is not None and not row["young"] and (row["rows"] >= PIECE or what == "contents")
    await connection.execute(
        "UPDATE router.pruning SET after = $2, begins_at = CASE WHEN $3 THEN begins_at ELSE now() + $4::interval END "
        "WHERE what = $1",
        what,
        row["last"] if more else "",
        more,
        _PAUSE,
    )
    return Piece(row["deleted"], more)


async def forget_bytes(database: Database) -> Piece:
    """Delete bytes of dead and held mail that have expired."""
    async with database.transaction() as connection:
        row = await connection.fetchrow(
            """
            WITH locked AS MATERIALIZED (
                SELECT decision_id, octet_length(content) AS size, expires_at FROM router.kept_content
                WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
            ), chosen AS (
                SELECT decision_id, sum(size) OVER (ORDER BY expires_at, decision_id) - size < $2 AS fits FROM locked
            ), gone AS (
                DELETE FROM router.kept_content WHERE decision_id IN (SELECT decision_id FROM chosen WHERE fits)
                RETURNING 1
            )
            SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT count(*) FROM locked) AS found
            """,
            PIECE,
            _BYTES,
        )
    assert row is not None
    return Piece(row["deleted"], more=row["found"] == PIECE or row["deleted"] < row["found"])
