-- no transaction
-- By what else an email is found: of what it holds, only the newest are asked for.
DROP INDEX CONCURRENTLY IF EXISTS crm.email_legacy_token;

CREATE INDEX CONCURRENTLY email_legacy_token ON crm.email (lower(legacy_token COLLATE "C"), created_at) WHERE legacy_token IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS crm.email_subject;

CREATE INDEX CONCURRENTLY email_subject ON crm.email (crm.subject_key(subject), created_at) WHERE subject <> '';

ALTER TABLE crm.email VALIDATE CONSTRAINT email_correlation_method_check;
