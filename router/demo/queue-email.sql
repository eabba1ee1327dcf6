-- Queues one email, as a CRM would: a draft, its parties, and then it is pending. Change what you like and run it again.
-- The demo's capture server takes mail to anybody, but for addresses that begin with "gone": those it refuses.

DO $$
DECLARE
    this uuid;
BEGIN
    INSERT INTO crm.email (direction, status, subject, text_body)
        VALUES ('out', 'draft', 'Hello from SQL', 'Written with four statements. Grüße!')
        RETURNING id INTO this;
    INSERT INTO crm.party (email_id, role, address, name) VALUES
        (this, 'from', 'anna@velo.example', 'Anna Berg'),  -- an approved owner's mailbox
        (this, 'to', 'lena@kestrel.example', 'Lena Kestrel'),
        (this, 'cc', 'you@somewhere.example', '');
    UPDATE crm.email SET status = 'pending_send' WHERE id = this;
END
$$;
