-- no transaction
-- The unresolved parties of an address or a domain, in the order in which rulings are carried out.
DROP INDEX CONCURRENTLY IF EXISTS crm.party_unresolved_domain;

CREATE INDEX CONCURRENTLY party_unresolved_domain
    ON crm.party (substring(address FROM '[^@]*$'), address, email_id) WHERE record_id IS NULL;

-- Candidates by domain and by name. Where the CRM has views in place of these tables, such an index is the CRM's to make.
-- where crm.address is a table
DROP INDEX CONCURRENTLY IF EXISTS crm.address_domain;

-- where crm.address is a table
CREATE INDEX CONCURRENTLY address_domain ON crm.address (substring(address FROM '[^@]*$'));

-- where crm.record is a table
DROP INDEX CONCURRENTLY IF EXISTS crm.record_plain_name;

-- where crm.record is a table
CREATE INDEX CONCURRENTLY record_plain_name ON crm.record (crm.plain_name(name));
