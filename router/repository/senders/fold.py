"""Brings the tables of the queue into line with the mail that waits.

    router.unresolved_email, crm.receipt    what is so; promote and the CRM change it
        ↓ triggers                          one row of a log, without a key that two transactions could meet on
    router.sender_change
        ↓ fold, one process at a time
    router.sender_mail                      the emails by owner, and once more for all owners (the owner EVERYBODY)
    router.sender_waiting                   by owner and sender: how many, the latest, the oldest
    router.sender_part                      by owner and part: a domain, a lone address, machines, who is put off
    router.sender_total                     by owner

Why so. A page lists domains and senders by their latest email. Found among the emails themselves, it would read all of
one sender who wrote 100,000, or leap over 100,000 senders. Kept by whoever promotes, two emails of one sender would
wait for one row. So promote only appends, and the rows are kept a moment later; each owner has its own, so that what a
person may see is a part of the key, and no page reads what it does not show.

Nothing is remembered of what a change was. An email that is named in the log is compared with what is kept of it, so
whoever is killed is followed by another, and doing it twice does nothing. Numbers move by what that has changed; latest
and oldest are looked up in an index. So a piece costs the same however many wait.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from router.repository.database import Connection, Database
from router.repository.senders.bound import BOUND

EVERYBODY: Final = UUID(int=0)
"""The owner under whom the mail of all owners is kept once more."""

CHANGED: Final = "router_sender_change"
"""Where it is told that there is something to fold."""

FOLDED: Final = "router_senders"
"""Where it is told what pages have to look at again, as `tell` writes it."""

PIECE: Final = 500
"""Changes that one transaction folds."""

READ: Final = 50
"""Emails whose words one transaction reads."""

_TOLD: Final = 50  # senders that one notification names; of more than that, it says that there are many
_MOST_READ: Final = 20_000  # characters of a text
_PATIENCE: Final = "200ms"

_WANTED: Final = """
    SELECT q.email_id, o.owner_id, q.address, q.received_at
    FROM unnest($1::uuid[]) AS w (id) JOIN router.unresolved_email AS q ON q.email_id = w.id
    CROSS JOIN LATERAL (
        SELECT '00000000-0000-0000-0000-000000000000'::uuid AS owner_id
        UNION SELECT q.owner_id WHERE q.owner_id IS NOT NULL
        UNION SELECT r.owner_id FROM crm.receipt AS r WHERE r.email_id = q.email_id
    ) AS o
"""

# Two statements: an email whose sender is another one leaves the one, and then comes to the other.
_GONE: Final = f"""
    WITH wanted AS MATERIALIZED ({_WANTED})
    DELETE FROM router.sender_mail AS m
    WHERE m.email_id = ANY($1::uuid[]) AND NOT EXISTS (
        SELECT FROM wanted AS w
        WHERE (w.email_id, w.owner_id, w.address, w.received_at) = (m.email_id, m.owner_id, m.address, m.received_at)
    )
    RETURNING m.owner_id, m.address
"""  # noqa: S608  # a constant

_CAME: Final = f"""
    INSERT INTO router.sender_mail (email_id, owner_id, address, received_at, machine)
    SELECT w.email_id, w.owner_id, w.address, w.received_at,
        e.flags && ARRAY['automatic', 'list', 'bulk', 'bounce', 'delay', 'delivery', 'complaint']
    FROM ({_WANTED}) AS w JOIN crm.email AS e ON e.id = w.email_id
    ON CONFLICT DO NOTHING RETURNING owner_id, address
"""  # noqa: S608  # a constant

_WORDS: Final = """
    WITH waits AS (
        SELECT m.email_id FROM router.sender_mail AS m
        WHERE m.email_id = ANY($1::uuid[]) AND m.owner_id = '00000000-0000-0000-0000-000000000000'
    ), gone AS (
        DELETE FROM router.sender_words AS w
        WHERE w.email_id = ANY($1::uuid[]) AND NOT EXISTS (SELECT FROM waits WHERE waits.email_id = w.email_id)
    )
    INSERT INTO router.sender_words (email_id) SELECT email_id FROM waits
    ON CONFLICT (email_id) DO UPDATE SET words = NULL
"""

_SENDERS: Final = """
    WITH old AS MATERIALIZED (
        SELECT s.* FROM unnest($1::uuid[], $2::text[]) AS t (owner_id, address)
        JOIN router.sender_waiting AS s USING (owner_id, address)
    ), fresh AS MATERIALIZED (
        SELECT t.owner_id, t.address, coalesce(old.number, 0) + t.delta AS number, n.received_at AS latest_at,
            n.email_id AS latest_id, l.received_at AS oldest_at,
            router.sender_part(t.address, n.machine, EXISTS (
                SELECT FROM router.sender_care AS c WHERE c.address = t.address AND c.snoozed_until > now()
            )) AS part, router.unresolved_kind(t.address, n.email_id) AS reason
        FROM unnest($1::uuid[], $2::text[], $3::int[]) AS t (owner_id, address, delta)
        LEFT JOIN old USING (owner_id, address)
        CROSS JOIN LATERAL (
            SELECT m.received_at, m.email_id, m.machine FROM router.sender_mail AS m
            WHERE m.owner_id = t.owner_id AND m.address = t.address
            ORDER BY m.received_at DESC, m.email_id DESC LIMIT 1
        ) AS n
        CROSS JOIN LATERAL (
            SELECT m.received_at FROM router.sender_mail AS m
            WHERE m.owner_id = t.owner_id AND m.address = t.address ORDER BY m.received_at, m.email_id LIMIT 1
        ) AS l
    ), gone AS (
        DELETE FROM router.sender_waiting AS s USING old AS o
        WHERE (s.owner_id, s.address) = (o.owner_id, o.address)
            AND NOT EXISTS (SELECT FROM fresh AS f WHERE (f.owner_id, f.address) = (o.owner_id, o.address))
    ), kept AS (
        INSERT INTO router.sender_waiting AS s (
            owner_id, address, domain, part, number, latest_at, latest_id, oldest_at, reason
        )
        SELECT owner_id, address, router.domain_of(address), part, number, latest_at, latest_id, oldest_at, reason
        FROM fresh
        ON CONFLICT (owner_id, address) DO UPDATE SET part = excluded.part, number = excluded.number,
            latest_at = excluded.latest_at, latest_id = excluded.latest_id, oldest_at = excluded.oldest_at,
            reason = excluded.reason
    ), uncared AS (
        DELETE FROM router.sender_care AS c USING old AS o
        WHERE c.address = o.address AND o.owner_id = '00000000-0000-0000-0000-000000000000'
            AND NOT EXISTS (SELECT FROM fresh AS f WHERE (f.owner_id, f.address) = (o.owner_id, o.address))
    )
    SELECT c.owner_id, c.part, sum(c.senders)::int AS senders, sum(c.number)::int AS number FROM (
        SELECT owner_id, part, -1 AS senders, -number AS number FROM old
        UNION ALL SELECT owner_id, part, 1, number FROM fresh
    ) AS c GROUP BY c.owner_id, c.part
"""

_PARTS: Final = """
    WITH fresh AS MATERIALIZED (
        SELECT t.owner_id, t.part, coalesce(p.senders, 0) + t.senders AS senders,
            coalesce(p.number, 0) + t.number AS number, n.latest_at, l.oldest_at
        FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) AS t (owner_id, part, senders, number)
        LEFT JOIN router.sender_part AS p USING (owner_id, part)
        LEFT JOIN LATERAL (
            SELECT s.latest_at FROM router.sender_waiting AS s
            WHERE s.owner_id = t.owner_id AND s.part = t.part ORDER BY s.latest_at DESC LIMIT 1
        ) AS n ON true
        LEFT JOIN LATERAL (
            SELECT s.oldest_at FROM router.sender_waiting AS s
            WHERE s.owner_id = t.owner_id AND s.part = t.part ORDER BY s.oldest_at LIMIT 1
        ) AS l ON true
    ), gone AS (
        DELETE FROM router.sender_part AS p USING fresh AS f
        WHERE (p.owner_id, p.part) = (f.owner_id, f.part) AND f.latest_at IS NULL
    ), kept AS (
        INSERT INTO router.sender_part AS p (owner_id, part, aside, senders, number, latest_at, oldest_at)
        SELECT owner_id, part, part LIKE '/%', senders, number, latest_at, oldest_at FROM fresh
        WHERE latest_at IS NOT NULL
        ON CONFLICT (owner_id, part) DO UPDATE SET senders = excluded.senders, number = excluded.number,
            latest_at = excluded.latest_at, oldest_at = excluded.oldest_at
    )
    INSERT INTO router.sender_total AS t (owner_id, part, senders, number)
    SELECT c.owner_id, c.part, sum(c.senders), sum(c.number) FROM (
        SELECT owner_id, CASE WHEN part LIKE '/%' THEN part ELSE '' END AS part, senders, number
        FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) AS t (owner_id, part, senders, number)
    ) AS c GROUP BY c.owner_id, c.part
    ON CONFLICT (owner_id, part) DO UPDATE
        SET senders = t.senders + excluded.senders, number = t.number + excluded.number
"""


async def fold(database: Database) -> bool:
    """Fold a piece of what has changed, and say whether there was one. Where another process folds, it does this."""
    async with database.connection() as connection:
        due: bool = await connection.fetchval(
            """
            SELECT EXISTS (SELECT FROM router.sender_change)
                OR EXISTS (SELECT FROM router.sender_care WHERE snoozed_until <= now())
            """
        )
    if not due:
        return False
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'; {BOUND}")
        if not await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('router.sender_change', 0))"
        ):
            return False
        emails, addresses, are_all = await _take(connection)
        addresses |= await _woken(connection)
        moved: Counter[tuple[UUID, str]] = Counter()
        for row in await connection.fetch(_GONE, list(emails)):
            moved[row["owner_id"], row["address"]] -= 1
        for row in await connection.fetch(_CAME, list(emails)):
            moved[row["owner_id"], row["address"]] += 1
        await connection.execute(_WORDS, list(emails))
        for row in await connection.fetch(
            "SELECT owner_id, address FROM router.sender_waiting WHERE address = ANY($1::text[])", list(addresses)
        ):
            moved[row["owner_id"], row["address"]] += 0
        await _count(connection, moved)
        await tell(connection, moved)
    return bool(emails or addresses or are_all)


async def _take(connection: Connection) -> tuple[set[UUID], set[str], bool]:
    rows = await connection.fetch(
        """
        DELETE FROM router.sender_change
        WHERE id IN (SELECT id FROM router.sender_change ORDER BY id LIMIT $1) RETURNING email_id, address
        """,
        PIECE,
    )
    are_all = any(row["email_id"] is None and row["address"] is None for row in rows)
    if are_all:
        await connection.execute(
            "INSERT INTO router.sender_change (email_id) SELECT q.email_id FROM router.unresolved_email AS q"
        )
    emails = {row["email_id"] for row in rows if row["email_id"] is not None}
    return emails, {row["address"] for row in rows if row["address"] is not None}, are_all


async def _woken(connection: Connection) -> set[str]:
    """Call back the senders who were put off until now."""
    rows = await connection.fetch(
        """
        UPDATE router.sender_care SET snoozed_until = NULL, snoozed_by = NULL
        WHERE address IN (SELECT address FROM router.sender_care WHERE snoozed_until <= now() LIMIT $1)
        RETURNING address
        """,
        PIECE,
    )
    return {row["address"] for row in rows}


async def _count(connection: Connection, moved: Counter[tuple[UUID, str]]) -> None:
    if not moved:
        return
    keys = sorted(moved)
    parts = await connection.fetch(
        _SENDERS, [owner for owner, _ in keys], [address for _, address in keys], [moved[key] for key in keys]
    )
    columns = ("owner_id", "part", "senders", "number")
    await connection.execute(_PARTS, *([row[column] for row in parts] for column in columns))


async def tell(connection: Connection, senders: Iterable[tuple[UUID, str]]) -> None:
    """Tell pages which senders to look at again, each with the owners of whose mail that is; `FOLDED` has the words.

    {"senders": {address: [owner, …], …}}, or {} where they are many.
    """
    of: dict[str, list[str]] = {}
    for owner_id, address in senders:
        of.setdefault(address, []).append(str(owner_id))
    if not of:
        return
    words = json.dumps({"senders": of}, separators=(",", ":"))
    # PostgreSQL takes less than 8,000 bytes.
    fits = len(of) <= _TOLD and len(words) < 7900
    await connection.execute("SELECT pg_notify($1, $2)", FOLDED, words if fits else "{}")


async def read_words(database: Database) -> bool:
    """Read the words of some emails that wait, so that they are found; and say whether more may be left."""
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
        rows: Sequence[object] = await connection.fetch(
            """
            WITH unread AS MATERIALIZED (
                SELECT w.email_id FROM router.sender_words AS w WHERE w.words IS NULL
                ORDER BY w.email_id LIMIT $1 FOR UPDATE SKIP LOCKED
            )
            UPDATE router.sender_words AS w SET words = coalesce(to_tsvector('simple', crm.plain_words(concat_ws(' ',
                CASE WHEN NOT e.private THEN e.subject END,
                CASE WHEN NOT e.private THEN left(e.text_body, $2) END,
                (
                    SELECT string_agg(concat_ws(' ', p.name, p.address), ' ') FROM (
                        SELECT p.name, p.address FROM crm.party AS p WHERE p.email_id = e.id
                        ORDER BY p.role = 'from' DESC LIMIT 10
                    ) AS p
                )
            ))), '')
            FROM unread AS u LEFT JOIN crm.email AS e ON e.id = u.email_id
            WHERE w.email_id = u.email_id RETURNING 1
            """,
            READ,
            _MOST_READ,
        )
    return len(rows) == READ
