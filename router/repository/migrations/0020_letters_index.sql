-- no transaction
-- Few rows are in these: dead and held copies, and bytes that are kept.
DROP INDEX CONCURRENTLY IF EXISTS router.decision_waiting;

CREATE INDEX CONCURRENTLY decision_waiting ON router.decision (disposition, id) WHERE disposition IN ('held', 'dead');

DROP INDEX CONCURRENTLY IF EXISTS router.decision_waiting_outer;

CREATE INDEX CONCURRENTLY decision_waiting_outer ON router.decision (source_id, outer_place)
    WHERE disposition IN ('held', 'dead') AND outer_place IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS router.kept_content_expires;

CREATE INDEX CONCURRENTLY kept_content_expires ON router.kept_content (expires_at);
