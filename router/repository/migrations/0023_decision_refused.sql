-- no transaction
-- Whether an owner's copy was ignored or held is looked up by the owner too: a newsletter has as many such copies as owners.
DROP INDEX CONCURRENTLY IF EXISTS router.decision_refused_of_owner;

CREATE INDEX CONCURRENTLY decision_refused_of_owner ON router.decision (key, owner_id)
    WHERE disposition IN ('ignored', 'held');

DROP INDEX CONCURRENTLY IF EXISTS router.decision_refused;
