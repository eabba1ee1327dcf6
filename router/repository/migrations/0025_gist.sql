-- Whoever knows a mail's Message-ID and Date can send another with them first. What an owner's rule ignored, or what is
-- held, is told from the true one by these. Null: not known, as of all that was decided before; then it counts as the same.

ALTER TABLE router.decision
    ADD COLUMN gist bytea,
    ADD COLUMN sender_gist bytea,
    ADD COLUMN gist_version smallint;
COMMENT ON COLUMN router.decision.gist IS 'Of what was ignored or is held, under any rule but none: as of router.message.';
COMMENT ON COLUMN router.decision.sender_gist IS 'Hash of the sender and what the gist is made of.';
COMMENT ON COLUMN router.decision.gist_version IS 'The way in which both were worked out; those of another way are as good as null.';
