-- no transaction
-- Records as they are searched while a person types. Where the CRM has views in place of these tables, such an index is the CRM's to make.
-- where crm.record is a table
DROP INDEX CONCURRENTLY IF EXISTS crm.record_words;

-- where crm.record is a table
CREATE INDEX CONCURRENTLY record_words ON crm.record USING gin (crm.record_words(name, kind));

-- where crm.record is a table
DROP INDEX CONCURRENTLY IF EXISTS crm.record_begins;

-- where crm.record is a table
CREATE INDEX CONCURRENTLY record_begins ON crm.record (crm.plain_words(left(name, 50)) COLLATE "C");

-- where crm.address is a table
DROP INDEX CONCURRENTLY IF EXISTS crm.address_words;

-- where crm.address is a table
CREATE INDEX CONCURRENTLY address_words ON crm.address USING gin (crm.address_words(address));

-- Held mail by its owner, for those who may see that one's alone.
DROP INDEX CONCURRENTLY IF EXISTS router.decision_waiting_owner;

CREATE INDEX CONCURRENTLY decision_waiting_owner ON router.decision (owner_id, disposition, id) WHERE disposition IN ('held', 'dead');
