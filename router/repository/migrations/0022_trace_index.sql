-- no transaction
-- What `trace` asks for: mail by its addresses and its time, and what of an owner's mail became no email.
DROP INDEX CONCURRENTLY IF EXISTS crm.party_address;

CREATE INDEX CONCURRENTLY party_address ON crm.party (address);

DROP INDEX CONCURRENTLY IF EXISTS crm.email_came;

CREATE INDEX CONCURRENTLY email_came ON crm.email ((coalesce(received_at, created_at)));

DROP INDEX CONCURRENTLY IF EXISTS router.decision_without_email;

CREATE INDEX CONCURRENTLY decision_without_email ON router.decision (owner_id, received_at) WHERE email_id IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS router.source_shared;

CREATE INDEX CONCURRENTLY source_shared ON router.source (profile) WHERE mailbox = '';
