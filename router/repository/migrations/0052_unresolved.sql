-- The emails whose sender was unresolved before there was a queue of them. Triggers look after what is new.
INSERT INTO router.unresolved_email (email_id, address, domain, owner_id, received_at)
SELECT e.id, p.address, router.domain_of(p.address), e.owner_id, coalesce(e.received_at, e.created_at)
FROM crm.party AS p JOIN crm.email AS e ON e.id = p.email_id
WHERE p.record_id IS NULL AND p.role = 'from' AND p.position = 0 AND e.direction = 'in'
    AND e.correlation_method IS DISTINCT FROM 'report'
ON CONFLICT DO NOTHING;
