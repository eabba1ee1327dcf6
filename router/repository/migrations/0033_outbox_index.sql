-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS router.outbox_ready;

CREATE INDEX CONCURRENTLY outbox_ready ON router.outbox (profile, lane, owner_id, priority DESC, next_at)
    WHERE ready AND process_id IS NULL AND profile IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS router.outbox_due;

CREATE INDEX CONCURRENTLY outbox_due ON router.outbox (ready, next_at)
    WHERE process_id IS NULL AND profile IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS router.outbox_owner;

CREATE INDEX CONCURRENTLY outbox_owner ON router.outbox (owner_id, coalesce(profile, ''), email_id)
    WHERE process_id IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS router.outbox_waiting;
