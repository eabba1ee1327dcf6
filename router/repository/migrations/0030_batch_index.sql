-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS crm.email_batch;

CREATE INDEX CONCURRENTLY email_batch ON crm.email (batch) WHERE batch IS NOT NULL;
