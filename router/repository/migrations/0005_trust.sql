-- How an answer is found by our private header, what our server says of a sender, and loops.

ALTER TABLE crm.email DROP CONSTRAINT email_correlation_method_check;
ALTER TABLE crm.email ADD CONSTRAINT email_correlation_method_check
    CHECK (correlation_method IN ('in-reply-to', 'references', 'private-header', 'token', 'report'));

-- How many automatic emails a thread got lately is asked while mail comes in, so what is older must cost nothing.
DROP INDEX crm.email_correlated;
CREATE INDEX email_correlated ON crm.email (correlated_id, created_at) WHERE correlated_id IS NOT NULL;

COMMENT ON TABLE router.message_id IS
    'Message-IDs as hashes, since long ids do not fit an index: which email has it, or was given it by its relay '
    '(where the relay told only what is left of the @, that with the @). Whoever shares a thread locks the same rows.';
COMMENT ON COLUMN crm.email.flags IS
    'What a person should know: new-on-thread (the sender was not on the thread before), automatic (a machine wrote it: it is no answer), '
    'bounce, delay, delivery, complaint (it reports so on the correlated email), list, bulk (it went to many), '
    'dmarc-fail (our mail server says that it is not from the domain in From), '
    'smime-signed, smime-encrypted, pgp-signed, pgp-encrypted (kept as it is, not opened or verified), tnef (has a winmail.dat of Outlook''s).';
