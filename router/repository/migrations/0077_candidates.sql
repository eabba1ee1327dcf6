-- Of those who have but the domain in common with a sender, the account comes first, and is found among however many: a
-- stranger is seldom the colleague whose name comes first in the alphabet.

CREATE OR REPLACE FUNCTION crm.candidates(address text)
    RETURNS TABLE (record_id uuid, kind text, name text, active boolean, why text[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    of_domain text := router.domain_of(address);
    mail uuid[] := ARRAY(
        SELECT q.email_id FROM router.unresolved_email AS q
        WHERE q.domain = of_domain AND q.address = candidates.address
        ORDER BY q.received_at DESC, q.email_id DESC LIMIT 20);
    -- A line of a signature may be a name or hold an address.
    lines text[] := ARRAY(
        SELECT DISTINCT left(btrim(line), 300)
        FROM unnest(mail[1:5]) AS m (id) JOIN crm.email AS e ON e.id = m.id
        CROSS JOIN LATERAL jsonb_array_elements(e.text_marks) AS mark
        CROSS JOIN LATERAL (
            SELECT substr(e.text_body, (mark ->> 0)::int + 1, least((mark ->> 1)::int - (mark ->> 0)::int, 1000)) AS text
        ) AS signature
        CROSS JOIN LATERAL regexp_split_to_table(signature.text, '[\r\n|]+') AS line
        WHERE mark ->> 2 = 'signature' AND btrim(line) <> '' LIMIT 50);
BEGIN
    RETURN QUERY
    WITH found (id, because, weight) AS (
        (
            SELECT a.record_id, 'has the address', 5 FROM crm.address AS a
            WHERE a.address = candidates.address AND candidates.address <> '' LIMIT 10
        )
        UNION ALL
        (
            SELECT r.id, 'has the name of the sender', 4 FROM crm.record AS r
            WHERE crm.plain_name(r.name) = ANY(ARRAY(
                SELECT DISTINCT crm.plain_name(p.name) FROM unnest(mail) AS m (id)
                JOIN crm.party AS p ON p.email_id = m.id AND p.role = 'from' AND p.position = 0 AND p.name <> ''
            )) AND r.active LIMIT 10
        )
        UNION ALL
        (
            SELECT r.id, 'has a name that is in the signature', 3 FROM crm.record AS r
            WHERE crm.plain_name(r.name) = ANY(ARRAY(SELECT crm.plain_name(line) FROM unnest(lines) AS line)) AND r.active
            LIMIT 10
        )
        UNION ALL
        (
            SELECT a.record_id, 'has an address that is in the signature', 3 FROM crm.address AS a
            WHERE a.address = ANY(ARRAY(
                SELECT crm.normalise(written[1]) FROM unnest(lines) AS line
                CROSS JOIN LATERAL regexp_matches(line, '[^\s<>()\[\]:;,"]+@[^\s<>()\[\]:;,"]+', 'g') AS written
            )) AND a.address <> candidates.address LIMIT 10
        )
        UNION ALL
        (
            SELECT e.regarding_id, 'is what mail of the sender is about', 3 FROM unnest(mail) AS m (id)
            JOIN crm.email AS e ON e.id = m.id WHERE e.regarding_id IS NOT NULL LIMIT 20
        )
        UNION ALL
        (
            SELECT p.record_id, 'is on an email that the sender answered', 2 FROM unnest(mail) AS m (id)
            JOIN crm.email AS e ON e.id = m.id
            JOIN crm.party AS p ON p.email_id = e.correlated_id AND p.record_id IS NOT NULL
            WHERE NOT EXISTS (SELECT FROM crm.owner AS o WHERE o.record_id = p.record_id) LIMIT 50
        )
        UNION ALL
        (
            -- The company itself before any of its people, of whom a domain may have thousands.
            SELECT r.id, 'has an address of the same domain', 1 FROM crm.record AS r
            WHERE r.id = ANY(ARRAY(
                SELECT a.record_id FROM crm.address AS a
                WHERE substring(a.address FROM '[^@]*$') = of_domain AND of_domain <> ''
                    AND NOT EXISTS (SELECT FROM crm.public_domain AS d WHERE d.domain = of_domain) LIMIT 1000
            ))
            ORDER BY r.active DESC, r.kind::text = 'account' DESC, r.name, r.id LIMIT 20
        )
    ), joined AS (
        SELECT f.id, array_agg(f.because ORDER BY f.weight DESC, f.because) AS because, sum(f.weight) AS weight
        FROM (SELECT DISTINCT f.id, f.because, f.weight FROM found AS f) AS f GROUP BY f.id
    )
    SELECT r.id, r.kind::text, r.name::text, r.active, j.because
    FROM joined AS j CROSS JOIN LATERAL (SELECT r.* FROM crm.record AS r WHERE r.id = j.id LIMIT 1) AS r
    WHERE NOT router.is_matter(r.kind::text)
    ORDER BY r.active DESC, j.weight DESC, r.kind::text = 'account' DESC, r.name, r.id LIMIT 20;
END
$$;
