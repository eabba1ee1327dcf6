-- no transaction
-- Who stopped or started sending; and copies that were given up are found among all that lie where they belong.
ALTER TABLE router.installation ADD COLUMN IF NOT EXISTS changed_by text;

COMMENT ON COLUMN router.installation.changed_by IS 'Who started or stopped sending the last time; null: nobody did yet.';

DROP INDEX CONCURRENTLY IF EXISTS router.sent_copy_given_up;

CREATE INDEX CONCURRENTLY sent_copy_given_up ON router.sent_copy (given_up_at) WHERE given_up_at IS NOT NULL;
