-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS crm.email_created;

CREATE INDEX CONCURRENTLY email_created ON crm.email (created_at, id);
