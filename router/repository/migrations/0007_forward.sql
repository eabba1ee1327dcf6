-- Forward mailboxes: several copies can lie in one mail, and both envelopes are kept.

ALTER TABLE router.decision ADD COLUMN outer_place text, ADD COLUMN forward jsonb;
COMMENT ON COLUMN router.decision.outer_place IS
    'The place of the mail that brought it, in a forward mailbox: settled when all copies in it are done with. Null: `place` itself.';
COMMENT ON COLUMN router.decision.forward IS 'See crm.receipt.forward. Null for what was ignored.';

ALTER TABLE crm.receipt ADD COLUMN forward jsonb;
COMMENT ON COLUMN crm.receipt.forward IS
    'How it came, if by a forward mailbox: form (attached, redirected, journal, inline), forwarder (an address), and the outer '
    'mail''s message_id and date (ISO 8601). Null: it lay in the owner''s own mailbox, or the owner''s rule had ignored it first.';
COMMENT ON COLUMN router.source.mailbox IS 'The owner''s mailbox; empty for a listener, and for a forward mailbox, which has a folder.';
COMMENT ON TABLE router.kept_content IS
    'The bytes (zlib) of held and dead copies that may exist nowhere else (listener, forward mailbox) or whose owner has the rule all. For administrators; expires.';

COMMENT ON COLUMN crm.email.flags IS
    'What a person should know: new-on-thread (the sender was not on the thread before), automatic (a machine wrote it: it is no answer), '
    'bounce, delay, delivery, complaint (it reports so on the correlated email), list, bulk (it went to many), '
    'dmarc-fail (our mail server says that it is not from the domain in From), '
    'smime-signed, smime-encrypted, pgp-signed, pgp-encrypted (kept as it is, not opened or verified), tnef (has a winmail.dat of Outlook''s), '
    'forwarded-inline (read out of the text of a forward: nobody vouches for its words).';
