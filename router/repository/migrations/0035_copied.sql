-- A copy within the same PostgreSQL, by CREATE DATABASE … TEMPLATE or from a dump, is known by the database's own number.

ALTER TABLE router.installation ADD COLUMN database_oid oid;

-- Numbers are given in order: a database that is younger than the tables in it was made from a template. It stays a copy,
-- as one does that another PostgreSQL made.
UPDATE router.installation AS i SET database_oid = d.oid FROM pg_database AS d
WHERE d.datname = current_database() AND d.oid < 'router.installation'::regclass::oid;

COMMENT ON TABLE router.installation IS
    'One row: the database that sends and reads. A copy has another system identifier or oid, and does neither.';
COMMENT ON COLUMN router.installation.database_oid IS 'pg_database.oid; null: a copy that an admin has not started yet.';

CREATE FUNCTION router.is_copy() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (
        SELECT FROM router.installation AS i, pg_control_system() AS c, pg_database AS d
        WHERE d.datname = current_database() AND i.system_identifier = c.system_identifier AND i.database_oid = d.oid
    )
$$;
COMMENT ON FUNCTION router.is_copy() IS
    'Whether this is a copy of the database, which neither sends nor reads before an admin starts it.';

CREATE OR REPLACE FUNCTION router.may_send() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT i.sending AND NOT router.is_copy() FROM router.installation AS i
$$;
