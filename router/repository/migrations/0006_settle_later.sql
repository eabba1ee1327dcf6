-- Copies may be deleted days after they were decided on: those that are due are found without reading the others.
DROP INDEX router.decision_unsettled;
CREATE INDEX decision_unsettled ON router.decision (source_id, decided_at) WHERE settled_at IS NULL;
