-- What is no address and no domain, such as "Karl <karl@kunde.example>", was ruled on without a word, and did nothing.
CREATE OR REPLACE FUNCTION router.subject_of(written text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN substring(subject FROM '@([^@]*)$') ~ '^$|[\s<>(),;"*]' THEN '' ELSE coalesce(subject, '') END
    FROM (
        SELECT CASE WHEN w LIKE '@%' THEN substr(crm.normalise('x' || w), 2) ELSE crm.normalise(w) END AS subject
        FROM (SELECT btrim(written, E' \t\r\n') AS w) AS t
    ) AS s
$$;
COMMENT ON FUNCTION router.subject_of IS
    'An address, or @ and a domain, in the form in which rulings name it; empty where it is none.';
