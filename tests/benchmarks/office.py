"""A database as a large office has it, made by PostgreSQL alone: 100,000 emails that wait take 20 s.

What waits is of 2 emails a sender on average, of a third as many domains; a tenth of the senders is at a public
provider, a twentieth is machines, and one of them has written a hundredth of all.
"""

from typing import Final

import asyncpg

# Without triggers: what they and `fold` would do email by email is done here for all at once.
_QUICKLY: Final = "SET session_replication_role = replica; SET synchronous_commit = off;"

_OWNERS: Final = """
    CREATE TEMPORARY TABLE made AS
        SELECT gen_random_uuid() AS id, 'box' || n || '@in.test' AS mailbox, n FROM generate_series(1, {owners}) AS n;
    INSERT INTO crm.record (id, kind, name)
        SELECT id, CASE WHEN n % 20 = 1 THEN 'queue' ELSE 'user' END, 'Mailbox ' || n FROM made;
    INSERT INTO crm.address (address, record_id) SELECT mailbox, id FROM made;
    INSERT INTO crm.owner (record_id, mailbox, approved, tracking_rule) SELECT id, mailbox, true, 'all' FROM made;
    INSERT INTO router.source (profile, mailbox, account, folder, owner_id, begins_at)
        SELECT 'office', mailbox, 'imap:' || mailbox, 'INBOX', id, '-infinity' FROM made;
    INSERT INTO router.source_count (source_id, promoted, duplicate, ignored, held, dead, last_at)
        SELECT id, 2000, 100, 300, 20, 2, now() FROM router.source WHERE profile = 'office';
    DROP TABLE made;
"""

# Its indexes are made once, and not a million times kept up.
_RECORDS: Final = """
    CREATE TEMPORARY TABLE indexes AS
        SELECT format('%I.%I', schemaname, indexname) AS name, indexdef FROM pg_indexes
        WHERE schemaname = 'crm' AND tablename IN ('record', 'address') AND indexname !~ '_pkey$';
    DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || string_agg(name, ', ') FROM indexes); END $$;
    INSERT INTO crm.record (kind, name)
        SELECT (ARRAY['contact', 'lead', 'account'])[1 + n % 3], CASE n % 3
            WHEN 2 THEN last || ' ' || (ARRAY['GmbH', 'AG', 'Tours', 'Söhne', 'Ltd', 'Reisen'])[1 + n / 3 % 6]
            ELSE first || ' ' || last
        END
        FROM (
            SELECT n,
                (ARRAY['Anna', 'Jan', 'Lena', 'Müller', 'Zoë', 'Ömer', 'Michael', 'Maria', 'Li', 'Ivan'])[1 + n % 10]
                    AS first,
                (ARRAY['Müller', 'Schmidt', 'Kestrel', 'Li', 'O''Brien', 'Gonzáles', 'Ünal', 'Петров', 'Smith', '王'])
                    [1 + n / 10 % 10] || CASE WHEN n % 7 = 0 THEN '' ELSE ' ' || left(md5((n % 50000)::text), 6) END
                    AS last
            FROM generate_series(1, {records}) AS n
        ) AS r;
    INSERT INTO crm.address (address, record_id)
        SELECT 'u' || row_number() OVER () || '@firm' || (hashtext(id::text) & 16383) || '.test', id FROM crm.record
        WHERE kind IN ('contact', 'lead');
    DO $$ BEGIN EXECUTE (SELECT string_agg(indexdef, ';') FROM indexes); END $$;
    DROP TABLE indexes;
"""

_WAITING: Final = """
    CREATE TEMPORARY TABLE made AS
        SELECT n, uuidv7(-make_interval(secs => n * 60.0)) AS id, now() - n * interval '1 minute' AS at,
            CASE
                WHEN n % 100 = 7 THEN 'flood@flood.test'
                WHEN s % 20 = 3 THEN 'no-reply@d' || s % (1 + {waiting} / 6) || '.test'
                WHEN s % 10 = 4 THEN 's' || s || '@gmail.com'
                ELSE 's' || s || '@d' || s % (1 + {waiting} / 6) || '.test'
            END AS address,
            o.owner_id
        FROM (SELECT n, n * 7919::bigint % (1 + {waiting} / 2) AS s FROM generate_series(1, {waiting}) AS n) AS n
        JOIN (SELECT record_id AS owner_id, row_number() OVER () - 1 AS number FROM crm.owner) AS o
            ON o.number = n % (SELECT count(*) FROM crm.owner);
    INSERT INTO crm.email
        (id, direction, status, message_id, subject, text_body, owner_id, dated_at, received_at, created_at)
        SELECT id, 'in', 'received', n || '@waits.test', 'Question ' || n || ' about frames',
            'Dear Anna, please send the ' || md5(n::text) || ' offer of this spring. Kind regards', owner_id, at, at, at
        FROM made;
    INSERT INTO crm.party (email_id, role, position, address, name)
        SELECT id, 'from', 0, address, 'Sender of ' || address FROM made
        UNION ALL SELECT m.id, 'to', 0, o.mailbox, '' FROM made AS m JOIN crm.owner AS o ON o.record_id = m.owner_id;
    INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at)
        SELECT id, owner_id, 'office', 'INBOX', '1:' || n, at FROM made;
    INSERT INTO router.unresolved_email (email_id, address, domain, owner_id, received_at)
        SELECT id, address, router.domain_of(address), owner_id, at FROM made;
    INSERT INTO router.decision
        (source_id, validity, place, owner_id, key, email_id, disposition, rule, reasons, received_at, decided_at)
        SELECT s.id, '1', 'w' || n, m.owner_id, sha256(('w' || n)::bytea), m.id, 'promoted', 'all', '{{"rule all"}}',
            m.at, m.at
        FROM made AS m JOIN router.source AS s ON s.owner_id = m.owner_id;
    TRUNCATE router.sender_change;  -- nothing is left to be folded
    INSERT INTO router.sender_mail (email_id, owner_id, address, received_at, machine)
        SELECT id, owner_id, address, at, false FROM made
        UNION ALL SELECT id, '00000000-0000-0000-0000-000000000000', address, at, false FROM made;
    INSERT INTO router.sender_waiting (owner_id, address, domain, part, number, latest_at, latest_id, oldest_at)
        SELECT owner_id, address, router.domain_of(address), router.sender_part(address, false, false), number,
            latest_at, latest_id, oldest_at
        FROM (
            SELECT owner_id, address, count(*) AS number, max(received_at) AS latest_at,
                (array_agg(email_id ORDER BY received_at DESC))[1] AS latest_id, min(received_at) AS oldest_at
            FROM router.sender_mail GROUP BY owner_id, address
        ) AS s;
    INSERT INTO router.sender_part (owner_id, part, aside, senders, number, latest_at, oldest_at)
        SELECT owner_id, part, part LIKE '/%', count(*), sum(number), max(latest_at), min(oldest_at)
        FROM router.sender_waiting GROUP BY owner_id, part;
    INSERT INTO router.sender_total (owner_id, part, senders, number)
        SELECT owner_id, CASE WHEN aside THEN part ELSE '' END, sum(senders), sum(number)
        FROM router.sender_part GROUP BY 1, 2;
    INSERT INTO router.sender_words (email_id, words)
        SELECT id, to_tsvector('simple', crm.plain_words('Question ' || n || ' about frames Dear Anna please send the '
            || md5(n::text) || ' offer of this spring Kind regards ' || address)) FROM made;
    DROP TABLE made;
"""

# What the other pages list: mail held and dead, rulings, the audit log, and mail that waits to be sent.
_REST: Final = """
    INSERT INTO router.decision
        (source_id, validity, place, owner_id, key, disposition, rule, reasons, received_at, decided_at)
        SELECT s.id, '1', 'h' || n, s.owner_id, sha256(('h' || n)::bytea),
            CASE WHEN n % 5 = 0 THEN 'dead' ELSE 'held' END, 'all',
            CASE WHEN n % 5 = 0 THEN ARRAY['the message cannot be read: it took longer than 30 s']
                ELSE ARRAY['held: the sender is not who it says'] END,
            now() - n * interval '1 minute', now() - n * interval '1 minute'
        FROM generate_series(1, {rest}) AS n
        JOIN (SELECT id, owner_id, row_number() OVER () - 1 AS number FROM router.source WHERE profile = 'office') AS s
            ON s.number = n % (SELECT count(*) FROM router.source WHERE profile = 'office');
    INSERT INTO router.ruling (kind, subject, by, at)
        SELECT 'ignore-sender', 'settled' || n || '@ruled.test', 'ann', now() - n * interval '1 minute'
        FROM generate_series(1, {rest}) AS n;
    INSERT INTO router.audit_log (at, by, action, subject)
        SELECT now() - n * interval '10 seconds', 'ann', 'raw-viewed', n || '@waits.test'
        FROM generate_series(1, {rest} * 5) AS n;
    CREATE TEMPORARY TABLE made AS
        SELECT n, gen_random_uuid() AS id, o.record_id AS owner_id, o.mailbox FROM generate_series(1, {rest}) AS n
        JOIN (SELECT record_id, mailbox, row_number() OVER () - 1 AS number FROM crm.owner) AS o
            ON o.number = n % (SELECT count(*) FROM crm.owner);
    INSERT INTO crm.email (id, direction, status, subject, text_body, owner_id)
        SELECT id, 'out', CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'pending_send' END, 'Offer ' || n, 'Hello', owner_id
        FROM made;
    INSERT INTO crm.party (email_id, role, position, address)
        SELECT id, 'from', 0, mailbox FROM made UNION ALL SELECT id, 'to', 0, 'karl@kunde.test' FROM made;
    INSERT INTO router.outbox (email_id, owner_id, next_at, ready)
        SELECT id, owner_id, now() + interval '1 day', false FROM made WHERE n % 10 > 0;
    INSERT INTO router.unsent (email_id, status, since)
        SELECT id, 'failed', now() - n * interval '1 minute' FROM made WHERE n % 10 = 0;
    DROP TABLE made;
    INSERT INTO router.sample (
        at, promoted, duplicate, ignored, held, dead, sent, failed, unknown, event_id, lag, to_send, unresolved
    )
        SELECT date_trunc('minute', now()) - n * interval '15 minutes', 96 - n, 0, 0, 0, 0, 96 - n, 0, 0, 0, 1, n, n
        FROM generate_series(1, 96) AS n;
"""


async def fill(superuser_dsn: str, *, waiting: int, records: int = 0, owners: int = 500, rest: int = 0) -> None:
    """Fill an empty database; `rest` is how many there are of each that other pages list. Statistics are fresh then."""
    sql = await asyncpg.connect(superuser_dsn)
    await sql.execute(_QUICKLY)
    for what in (_OWNERS, _RECORDS, _WAITING, _REST):
        await sql.execute(what.format(waiting=waiting, records=records, owners=owners, rest=rest))
    await sql.execute("VACUUM ANALYZE")
    await sql.execute("CHECKPOINT")
    await sql.close()
