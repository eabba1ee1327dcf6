-- Dead letters can be replayed, held mail released, and what grows is pruned.

-- What reading the bytes again needs beside them.
ALTER TABLE router.kept_content
    ADD COLUMN recipients text[] NOT NULL DEFAULT '{}',
    ADD COLUMN sent boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN router.kept_content.recipients IS 'Those of the envelope, of what came by a listener.';
COMMENT ON COLUMN router.kept_content.sent IS 'Whether the owner sent it: it lay in a Sent folder, or a journal says so.';
COMMENT ON COLUMN router.decision.forward IS 'See crm.receipt.forward. Null for what was ignored, and where nothing is kept.';
COMMENT ON TABLE router.decision IS
    'What became of each copy of a message, with every reason. Of what was ignored nothing else is kept. Pruned after EMAIL_ROUTER_KEEP_DECISIONS.';

-- An attachment's content is stored before the attachment, so one that was stored a moment ago is no orphan yet.
ALTER TABLE crm.blob ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN crm.blob.created_at IS 'A day after this, a content that no attachment has is deleted.';

CREATE TABLE router.pruning (
    what text PRIMARY KEY,
    after text NOT NULL DEFAULT '',
    begins_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO router.pruning (what) VALUES ('decisions'), ('events'), ('attempts'), ('keys'), ('ids'), ('contents');
COMMENT ON TABLE router.pruning IS 'How far each walk through a table that is pruned has come, piece by piece, by whichever process.';
COMMENT ON COLUMN router.pruning.after IS 'The key of the last row of the last piece; empty: the walk is at its beginning.';
COMMENT ON COLUMN router.pruning.begins_at IS 'Not before this moment is the next piece taken.';
