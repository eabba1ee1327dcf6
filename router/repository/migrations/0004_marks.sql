-- What of a text its author did not write anew, and headers as they came.

ALTER TABLE crm.email ADD COLUMN text_marks jsonb, ADD COLUMN raw_headers jsonb;
COMMENT ON COLUMN crm.email.text_marks IS
    'Where in text_body quotes and signatures are, for pages and searches to fold: [[start, end, kind], …], in order and apart. '
    'Characters are counted from 0 and end is not among them; kind is quote, forward or signature. Null: none.';
COMMENT ON COLUMN crm.email.raw_headers IS
    'Headers that could not be decoded without loss or guessing, as they came: [[name, value], …], bytes beyond ASCII as \xNN. Null: none.';
COMMENT ON COLUMN crm.email.text_body IS
    'Plain text. Where the mail has none, it is made of its HTML, or of its invitation.';
COMMENT ON COLUMN crm.email.flags IS
    'What a person should know: new-on-thread (the sender was not on the thread before), automatic (a machine wrote it: it is no answer), '
    'bounce, delay, delivery, complaint (it reports so on the correlated email), list, bulk (it went to many), '
    'smime-signed, smime-encrypted, pgp-signed, pgp-encrypted (kept as it is, not opened or verified), tnef (has a winmail.dat of Outlook''s).';
