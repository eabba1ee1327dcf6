-- Puts right what was stored before it was refused. Reads much, and locks only what is wrong.

UPDATE crm.email AS e SET
    send_after = CASE WHEN e.send_after IS NOT NULL
        THEN least(greatest(e.send_after, '1970-01-01 00:00:00+00'), '2199-12-31 00:00:00+00') END,
    dated_at = CASE WHEN e.dated_at IS NOT NULL
        THEN least(greatest(e.dated_at, '1970-01-01 00:00:00+00'), '2199-12-31 00:00:00+00') END,
    sent_at = CASE WHEN e.sent_at IS NOT NULL
        THEN least(greatest(e.sent_at, '1970-01-01 00:00:00+00'), '2199-12-31 00:00:00+00') END,
    received_at = CASE WHEN e.received_at IS NOT NULL
        THEN least(greatest(e.received_at, '1970-01-01 00:00:00+00'), '2199-12-31 00:00:00+00') END,
    token = CASE WHEN crm.wrong_email(NULL, NULL, NULL, NULL, e.token, NULL, NULL, NULL, NULL, NULL) IS NULL THEN e.token END
WHERE crm.wrong_email(e.send_after, e.dated_at, e.sent_at, e.received_at, e.token, NULL, NULL, NULL, NULL, NULL) IS NOT NULL;

-- What is cut off must not become the address of somebody else: mail cannot be sent to one with blanks.
UPDATE crm.party AS p SET address = crm.normalise(left(p.address, 300) || ' (too long)') WHERE length(p.address) > 320;
