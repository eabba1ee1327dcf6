-- Whether two messages with one key say the same: only then is a copy deleted or moved as a duplicate.

ALTER TABLE router.message
    ADD COLUMN content bytea CHECK (length(content) = 16),
    ADD COLUMN gist bytea CHECK (length(gist) = 16);
COMMENT ON COLUMN router.message.content IS
    'Hash of what the email says (sender, subject, texts, attachments); null: it is not known, or the CRM wrote it.';
COMMENT ON COLUMN router.message.gist IS 'The same without what mailing lists and mail servers change on the way.';

ALTER TABLE router.decision ADD COLUMN content bytea CHECK (length(content) = 16);
COMMENT ON COLUMN router.decision.content IS 'Hash of what the copy says, as of router.message.';

COMMENT ON COLUMN crm.email.flags IS
    'What a person should know: new-on-thread (the sender was not on the thread before), automatic (a machine wrote it: it is no answer), '
    'bounce, delay, delivery, complaint (it reports so on the correlated email), list, bulk (it went to many), '
    'dmarc-fail (our mail server says that it is not from the domain in From), '
    'smime-signed, smime-encrypted, pgp-signed, pgp-encrypted (kept as it is, not opened or verified), tnef (has a winmail.dat of Outlook''s), '
    'forwarded-inline (read out of the text of a forward: nobody vouches for its words), '
    'other-copy (a message that says something else came with the same Message-ID and Date: one of the two may be forged).';
