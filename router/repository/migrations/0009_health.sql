-- What is wrong with a source, a relay or a process: since when, and when it is tried next. Which profiles a process serves.

ALTER TABLE router.source ADD COLUMN fault_since timestamptz, ADD COLUMN next_try_at timestamptz;
UPDATE router.source SET fault_since = changed_at WHERE fault IS NOT NULL;
COMMENT ON COLUMN router.source.fault_since IS 'When the fault began; its words may have changed since.';
COMMENT ON COLUMN router.source.next_try_at IS 'When it is tried again, while it is at fault.';

ALTER TABLE router.relay RENAME COLUMN changed_at TO fault_since;
ALTER TABLE router.relay ADD COLUMN next_try_at timestamptz;
COMMENT ON COLUMN router.relay.fault_since IS 'When the fault began; its words may have changed since.';
COMMENT ON COLUMN router.relay.next_try_at IS 'When it is tried again.';

ALTER TABLE router.process
    ADD COLUMN profiles jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN faults jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN router.process.profiles IS
    'The profiles that the process serves now, and what is wrong with those that it does not, for commands elsewhere.';
COMMENT ON COLUMN router.process.faults IS
    'What is wrong with parts of the process itself, by their names: {"sender": {"fault": …, "since": …, "next_try": …}}.';
