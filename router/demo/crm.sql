-- The sample CRM: a bicycle maker and its customers. Fixed ids, so that a second start finds it and changes nothing.

-- Those whose mail is tracked. Anyone else is just a record.
INSERT INTO crm.record (id, kind, name) VALUES
    ('de300000-0000-4000-8000-000000000001', 'user', 'Anna Berg'),
    ('de300000-0000-4000-8000-000000000002', 'user', 'Ben Costa'),
    ('de300000-0000-4000-8000-000000000003', 'user', 'Chiyo Mori'),
    ('de300000-0000-4000-8000-000000000004', 'queue', 'Sales'),
    ('de300000-0000-4000-8000-000000000005', 'queue', 'Support')
ON CONFLICT DO NOTHING;

INSERT INTO crm.record (id, kind, name, owner_id) VALUES
    ('de300000-0000-4000-8000-000000000011', 'account', 'Kestrel Tours', 'de300000-0000-4000-8000-000000000001'),
    ('de300000-0000-4000-8000-000000000012', 'account', 'Müller Räder GmbH', 'de300000-0000-4000-8000-000000000001'),
    ('de300000-0000-4000-8000-000000000021', 'contact', 'Lena Kestrel', 'de300000-0000-4000-8000-000000000001'),
    ('de300000-0000-4000-8000-000000000022', 'contact', '田中 陽子', 'de300000-0000-4000-8000-000000000004'),
    ('de300000-0000-4000-8000-000000000023', 'contact', 'Paul Kestrel', 'de300000-0000-4000-8000-000000000001'),
    ('de300000-0000-4000-8000-000000000031', 'lead', 'Omar Haddad', 'de300000-0000-4000-8000-000000000002'),
    ('de300000-0000-4000-8000-000000000041', 'opportunity', '40 touring bikes', 'de300000-0000-4000-8000-000000000001')
ON CONFLICT DO NOTHING;

INSERT INTO crm.address (address, record_id) VALUES
    ('anna@velo.example', 'de300000-0000-4000-8000-000000000001'),
    ('ben@velo.example', 'de300000-0000-4000-8000-000000000002'),
    ('chiyo@velo.example', 'de300000-0000-4000-8000-000000000003'),
    ('sales@velo.example', 'de300000-0000-4000-8000-000000000004'),
    ('support@velo.example', 'de300000-0000-4000-8000-000000000005'),
    ('info@kestrel.example', 'de300000-0000-4000-8000-000000000011'),
    (crm.normalise('Kontakt@xn--mller-rder-w5a5z.example'), 'de300000-0000-4000-8000-000000000012'),
    ('lena@kestrel.example', 'de300000-0000-4000-8000-000000000021'),
    ('tanaka@sakura.example', 'de300000-0000-4000-8000-000000000022'),
    ('gone@kestrel.example', 'de300000-0000-4000-8000-000000000023'),
    ('omar@haddad.example', 'de300000-0000-4000-8000-000000000031')
ON CONFLICT DO NOTHING;

INSERT INTO crm.owner (record_id, mailbox, tracking_rule, approved) VALUES
    ('de300000-0000-4000-8000-000000000001', 'anna@velo.example', 'known', true),
    ('de300000-0000-4000-8000-000000000002', 'ben@velo.example', 'replies', true),
    ('de300000-0000-4000-8000-000000000003', 'chiyo@velo.example', 'none', true),
    ('de300000-0000-4000-8000-000000000004', 'sales@velo.example', 'all', true),
    ('de300000-0000-4000-8000-000000000005', 'support@velo.example', 'email-enabled', true)
ON CONFLICT DO NOTHING;
