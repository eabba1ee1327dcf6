-- The words of RFC 5545 (ORGANIZER) and of American English, before anybody depends on others.

-- What an outgoing email has there is the CRM's own.
UPDATE crm.email SET calendar = calendar - 'organiser' || jsonb_build_object('organizer', calendar -> 'organiser')
    WHERE direction = 'in' AND calendar ? 'organiser';
COMMENT ON COLUMN crm.email.calendar IS
    'The invitation or other calendar message that it holds (RFC 5545, 5546): method (request, cancel, reply, …), uid, '
    'start, end (ISO 8601: a date for whole days; without an offset where no time zone was told), organizer (an address).';

-- The function keeps its name: normalize() without a schema is SQL's own, which brings text into a form of Unicode.
COMMENT ON COLUMN crm.address.address IS 'Normalized: insert crm.normalise(''John@Example.COM'').';
COMMENT ON COLUMN crm.party.address IS 'Normalized, see crm.normalise.';
COMMENT ON COLUMN crm.delivery.address IS 'The recipient, normalized.';
