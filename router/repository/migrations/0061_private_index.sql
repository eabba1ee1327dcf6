-- no transaction
-- In place of email_created: new mail is in one of the two.
DROP INDEX CONCURRENTLY IF EXISTS crm.email_public;

CREATE INDEX CONCURRENTLY email_public ON crm.email (created_at, id) WHERE NOT private;

DROP INDEX CONCURRENTLY IF EXISTS crm.email_private;

CREATE INDEX CONCURRENTLY email_private ON crm.email (created_at, id) WHERE private;

DROP INDEX CONCURRENTLY IF EXISTS crm.email_private_owner;

CREATE INDEX CONCURRENTLY email_private_owner ON crm.email (owner_id, created_at, id) WHERE private;
