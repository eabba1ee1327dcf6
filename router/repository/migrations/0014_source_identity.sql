-- A source stays the same whatever its profile is called: it is known by what it is, an owner's mailbox, the account of a
-- forward mailbox, or where a listener listens. Its table is small, so all of this is quick.
-- A process of an older version registers sources by their profile's name, which fails from now on: within a minute it
-- reads no more mailboxes. Their mail waits on its servers until that process is stopped and a new one takes them.

ALTER TABLE router.source ADD COLUMN identity text, ADD COLUMN account text;

-- Only the profile's name is known yet; the router puts the account itself in its place.
UPDATE router.source SET account = 'incoming.' || profile;
ALTER TABLE router.source ALTER COLUMN account SET NOT NULL;

-- Of the sources that a mailbox had under several profiles, the one that was held last is read; the others are former.
UPDATE router.source AS s SET identity = coalesce(nullif(s.mailbox, ''), s.account)
FROM (
    SELECT DISTINCT ON (coalesce(nullif(mailbox, ''), account), folder) id
    FROM router.source ORDER BY coalesce(nullif(mailbox, ''), account), folder, changed_at DESC, id DESC
) AS newest
WHERE newest.id = s.id;
UPDATE router.source SET process_id = NULL, fault = NULL, fault_since = NULL, next_try_at = NULL WHERE identity IS NULL;

ALTER TABLE router.source
    DROP CONSTRAINT source_profile_mailbox_folder_key,
    ADD CONSTRAINT source_identity_folder_key UNIQUE (identity, folder);

COMMENT ON TABLE router.source IS
    'One thing that is read: one folder of one mailbox, or one listener (mailbox and folder empty), whatever its profile is called.';
COMMENT ON COLUMN router.source.profile IS 'The incoming profile that reads it, or did last.';
COMMENT ON COLUMN router.source.identity IS
    'What it is known by: the owner''s mailbox; of a forward mailbox or a listener the account. Null: a former source, whose account was another.';
COMMENT ON COLUMN router.source.account IS
    'In which account on its server cursor and places mean something; incoming.NAME: in that profile''s, from before this was noted.';
