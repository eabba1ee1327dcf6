-- What the demo's database holds. Change what you like and run it again; docs/database.md describes every table.

\pset border 0
\pset null ''

\echo 'crm.email: the email of the CRM'
SELECT e.direction AS way, e.status, left(e.subject, 40) AS subject, r.name AS regarding
FROM crm.email AS e LEFT JOIN crm.record AS r ON r.id = e.regarding_id
ORDER BY e.created_at, e.id;

\echo 'crm.party: who is on an email; a sender without a record is unresolved'
SELECT p.address, r.kind, r.name, count(*) AS emails
FROM crm.party AS p LEFT JOIN crm.record AS r ON r.id = p.record_id
GROUP BY p.address, r.kind, r.name
ORDER BY p.address;

\echo 'router.decision: what became of each copy of a message, and why'
SELECT o.mailbox, d.disposition, array_to_string(d.reasons, '; ') AS reasons
FROM router.decision AS d JOIN crm.owner AS o ON o.record_id = d.owner_id
ORDER BY d.id;
