-- no transaction: CREATE INDEX CONCURRENTLY lets the router send meanwhile.
-- A try that was broken off leaves an index that is not valid, so each begins anew.
DROP INDEX CONCURRENTLY IF EXISTS router.attempt_unknown;

-- For the status, which counts unknown emails. Not an index on crm.email (status): each change of an email's status
-- would then write all of that table's indexes anew (no HOT update), three times for each email sent.
CREATE INDEX CONCURRENTLY attempt_unknown ON router.attempt (email_id)
    WHERE finished_at IS NULL OR outcome LIKE 'unknown%';
