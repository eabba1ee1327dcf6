"""A database as years of mail leave it, made by PostgreSQL alone within a minute for a million emails."""

import asyncpg

FILL = """
-- Without triggers: nothing is to be queued or counted.
SET session_replication_role = replica;
SET synchronous_commit = off;
CREATE TEMP TABLE made AS
    SELECT
        n, uuidv7(make_interval(secs => 30.0 * (n - {emails}))) AS email_id, gen_random_uuid() AS record_id,
        now() - make_interval(secs => 30.0 * ({emails} - n)) AS at
    FROM generate_series(1, {emails}) AS n;
INSERT INTO crm.record (id, kind, name) SELECT record_id, 'contact', 'Kunde ' || n FROM made;
INSERT INTO crm.address (address, record_id) SELECT 'kunde' || n || '@kunde.test', record_id FROM made;
INSERT INTO crm.email
    (id, direction, status, message_id, subject, text_body, owner_id, dated_at, received_at, created_at, regarding_id)
    SELECT m.email_id, 'in', 'received', n || '@kunde.test', 'Number ' || n, repeat('A line of text. ', 20),
        o.record_id, m.at, m.at, m.at, m.record_id
    FROM made AS m, (SELECT record_id FROM crm.owner ORDER BY mailbox LIMIT 1) AS o;
INSERT INTO crm.party (email_id, role, position, address, record_id)
    SELECT email_id, 'from', 0, 'kunde' || n || '@kunde.test', record_id FROM made;
INSERT INTO crm.party (email_id, role, position, address)
    SELECT email_id, 'to', 0, 'ann@in.test' FROM made;
INSERT INTO router.message (key, version, email_id, seen_at, content, gist)
    SELECT sha256(n::text::bytea), 1, email_id, at, substring(sha256(('c' || n)::bytea) FOR 16),
        substring(sha256(('g' || n)::bytea) FOR 16)
    FROM made;
INSERT INTO router.message_id (hash, email_id, seen_at)
    SELECT substring(sha256((n || '@kunde.test')::bytea) FOR 16), email_id, at FROM made;
INSERT INTO router.source (profile, mailbox, account, folder, begins_at)
    VALUES ('former', 'ann@in.test', 'former', 'INBOX', '-infinity');
INSERT INTO router.decision
    (source_id, validity, place, owner_id, key, email_id, disposition, rule, reasons, received_at, decided_at,
        settled_at)
    SELECT s.id, '1', n::text, e.owner_id, sha256(n::text::bytea), e.id, 'promoted', 'all', '{{"rule all"}}', m.at,
        m.at, m.at
    FROM made AS m JOIN crm.email AS e ON e.id = m.email_id, router.source AS s WHERE s.profile = 'former';
INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at)
    SELECT e.id, e.owner_id, 'former', 'INBOX', '1:' || n, m.at FROM made AS m JOIN crm.email AS e ON e.id = m.email_id;
DROP TABLE made;
-- The walks that prune are taken once in a while, and have just been: they are no part of what a message costs.
UPDATE router.pruning SET begins_at = now() + interval '1 day';
"""


async def fill(superuser_dsn: str, emails: int) -> None:
    """Make so many emails of as many contacts.

    Email n is <n@kunde.test>, from kundeN@kunde.test, to the first owner. Statistics are fresh then.
    """
    sql = await asyncpg.connect(superuser_dsn)
    await sql.execute(FILL.format(emails=emails))
    await sql.execute("VACUUM ANALYZE")
    await sql.execute("CHECKPOINT")
    await sql.close()
