-- Sending, as a CRM does it: a draft, its parties and attachments, and then it is pending.

INSERT INTO crm.email (id, direction, status, subject, text_body, html_body, regarding_id) VALUES
    ('de300000-0000-4000-8000-0000000000a1', 'out', 'draft', 'Offer: 40 touring bikes',
     E'Dear Lena,\n\nplease find our prices attached: 12 % below the list, with all our heart. Schöne Grüße 🚲\n\nAnna',
     '<p>Dear Lena,</p><p>please find our prices attached: <b>12 % below the list</b>. Schöne Grüße 🚲</p><p>Anna</p>',
     'de300000-0000-4000-8000-000000000041'),
    ('de300000-0000-4000-8000-0000000000a2', 'out', 'draft', 'A test ride on Saturday?',
     E'Dear Mr Haddad,\n\nwould ten o''clock suit you?\n\nBen', NULL,
     'de300000-0000-4000-8000-000000000031'),
    ('de300000-0000-4000-8000-0000000000a3', 'out', 'draft', 'Are you still there?',
     E'Dear Paul,\n\nwe have not heard from you for a while.\n\nAnna', NULL,
     'de300000-0000-4000-8000-000000000011')
ON CONFLICT DO NOTHING;

INSERT INTO crm.party (email_id, role, position, address, name, record_id) VALUES
    ('de300000-0000-4000-8000-0000000000a1', 'from', 0, 'anna@velo.example', 'Anna Berg',
     'de300000-0000-4000-8000-000000000001'),
    ('de300000-0000-4000-8000-0000000000a1', 'to', 0, 'lena@kestrel.example', 'Lena Kestrel',
     'de300000-0000-4000-8000-000000000021'),
    ('de300000-0000-4000-8000-0000000000a2', 'from', 0, 'ben@velo.example', 'Ben Costa',
     'de300000-0000-4000-8000-000000000002'),
    ('de300000-0000-4000-8000-0000000000a2', 'to', 0, 'omar@haddad.example', 'Omar Haddad',
     'de300000-0000-4000-8000-000000000031'),
    ('de300000-0000-4000-8000-0000000000a3', 'from', 0, 'anna@velo.example', 'Anna Berg',
     'de300000-0000-4000-8000-000000000001'),
    ('de300000-0000-4000-8000-0000000000a3', 'to', 0, 'gone@kestrel.example', 'Paul Kestrel',
     'de300000-0000-4000-8000-000000000023')
ON CONFLICT DO NOTHING;

WITH file AS (SELECT convert_to(E'bicycle,price\nTourer 28,1190 €\nTourer 26,1090 €\n', 'UTF8') AS content),
stored AS (INSERT INTO crm.blob (sha256, content) SELECT sha256(content), content FROM file ON CONFLICT DO NOTHING)
INSERT INTO crm.attachment (email_id, position, filename, media_type, size, sha256)
SELECT 'de300000-0000-4000-8000-0000000000a1', 0, 'Preise für 2027.csv', 'text/csv', length(content), sha256(content)
FROM file
ON CONFLICT DO NOTHING;

UPDATE crm.email SET status = 'pending_send'
WHERE id IN ('de300000-0000-4000-8000-0000000000a1', 'de300000-0000-4000-8000-0000000000a2',
             'de300000-0000-4000-8000-0000000000a3') AND status = 'draft';
