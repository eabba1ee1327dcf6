-- An answer may come before the email that it answers, and a person may say anew what a thread is about.

-- --- Answers that wait ----------------------------------------------------------------------------------------------

-- Without a foreign key, which would cost each answer more than the row itself: what is left over expires.
CREATE TABLE router.waiting_answer (
    decision_id bigint NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 16),
    position int NOT NULL,
    method text NOT NULL,
    until timestamptz NOT NULL,
    email_id uuid,
    try_at timestamptz,
    PRIMARY KEY (decision_id, hash),
    CHECK ((email_id IS NULL) = (try_at IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX waiting_answer_hash ON router.waiting_answer (hash);
CREATE INDEX waiting_answer_until ON router.waiting_answer (until);
CREATE INDEX waiting_answer_found ON router.waiting_answer (try_at) WHERE email_id IS NOT NULL;
COMMENT ON TABLE router.waiting_answer IS
    'Copies that name an email which is not the CRM''s yet: promoted ones are linked once it is, ignored ones decided again.';
COMMENT ON COLUMN router.waiting_answer.hash IS 'Of the Message-ID of the email that would be answered, as in router.message_id.';
COMMENT ON COLUMN router.waiting_answer.position IS 'Of several emails that a copy names, the one with the lowest is answered.';
COMMENT ON COLUMN router.waiting_answer.method IS 'How the copy names it, see crm.email.correlation_method.';
COMMENT ON COLUMN router.waiting_answer.email_id IS 'That email, once the CRM has it; then the answer is to be linked, from try_at on.';

CREATE TABLE router.decide_again (
    decision_id bigint PRIMARY KEY REFERENCES router.decision ON DELETE CASCADE,
    source_id bigint NOT NULL,
    reason text NOT NULL
);
CREATE INDEX decide_again_source ON router.decide_again (source_id);
COMMENT ON TABLE router.decide_again IS
    'Copies whose decision is to be made again: whoever reads their source fetches them, undoes the decision and makes it anew.';
COMMENT ON COLUMN router.decide_again.reason IS 'Why, for the reasons of the new decision.';

-- --- What a thread is about -----------------------------------------------------------------------------------------

-- Rows are only added, so that transactions of the CRM which change one thread never wait for each other here.
CREATE TABLE router.regarding_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_id uuid NOT NULL REFERENCES crm.email ON DELETE CASCADE,
    regarding_id uuid
);
CREATE INDEX regarding_change_first ON router.regarding_change (first_id, id);
COMMENT ON TABLE router.regarding_change IS 'What the CRM said that a thread is about, after its first email: the last one counts.';
COMMENT ON COLUMN router.regarding_change.first_id IS 'The first email of the thread, as it was then.';

CREATE FUNCTION router.thread_above(email_id uuid)
    RETURNS TABLE (id uuid, regarding_id uuid, distance int) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE up AS (
        SELECT e.id, e.regarding_id, e.correlated_id, 0 AS distance FROM crm.email AS e WHERE e.id = email_id
        UNION ALL
        SELECT e.id, e.regarding_id, e.correlated_id, up.distance + 1
        FROM up JOIN crm.email AS e ON e.id = up.correlated_id
        -- An end also for emails that the CRM made answer each other.
        WHERE up.distance < 1000
    )
    SELECT up.id, up.regarding_id, up.distance FROM up
$$;
COMMENT ON FUNCTION router.thread_above IS 'An email, the email that it answers, and so on up to the first of the thread.';

CREATE FUNCTION router.thread_regarding(email_id uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
    WITH up AS MATERIALIZED (SELECT * FROM router.thread_above(email_id)),
    changed AS (
        SELECT c.id, c.regarding_id
        FROM up CROSS JOIN LATERAL (
            SELECT * FROM router.regarding_change AS c WHERE c.first_id = up.id ORDER BY c.id DESC LIMIT 1
        ) AS c
        ORDER BY c.id DESC LIMIT 1
    )
    SELECT CASE WHEN EXISTS (SELECT FROM changed) THEN (SELECT regarding_id FROM changed)
        ELSE (SELECT regarding_id FROM up WHERE regarding_id IS NOT NULL ORDER BY distance LIMIT 1) END
$$;
COMMENT ON FUNCTION router.thread_regarding IS
    'What the thread of an email is about now: what the CRM said last; else what the email, or the nearest before it, is about.';

CREATE FUNCTION crm.note_regarding() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- An email that begins with the regarding record of the one that it answers says nothing new.
    IF TG_OP = 'UPDATE' OR EXISTS (
        SELECT FROM crm.email AS e WHERE e.id = NEW.correlated_id AND e.regarding_id IS DISTINCT FROM NEW.regarding_id
    ) THEN
        INSERT INTO router.regarding_change (first_id, regarding_id)
        SELECT up.id, NEW.regarding_id FROM router.thread_above(NEW.id) AS up ORDER BY up.distance DESC LIMIT 1;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.note_regarding IS 'Remembers what the CRM says last that a thread is about.';

-- A router inherits, and says nothing of its own.
CREATE TRIGGER note_regarding AFTER INSERT ON crm.email FOR EACH ROW
    WHEN (NEW.correlated_id IS NOT NULL AND NEW.regarding_id IS NOT NULL
        AND current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes')
    EXECUTE FUNCTION crm.note_regarding();
CREATE TRIGGER note_changed_regarding AFTER UPDATE OF regarding_id ON crm.email FOR EACH ROW
    WHEN (NEW.regarding_id IS DISTINCT FROM OLD.regarding_id
        AND current_setting('email_router.knows_ids', true) IS DISTINCT FROM 'yes')
    EXECUTE FUNCTION crm.note_regarding();

COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later), sent, failed, unknown; '
    'refused, delayed, accepted (reported of one recipient), complaint.';
