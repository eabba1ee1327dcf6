-- Who follows along hears that a person's content was erased.

-- Never validated: of what was told before, nothing changes.
ALTER TABLE crm.event DROP CONSTRAINT event_kind, ADD CONSTRAINT event_kind CHECK (kind IN (
    'promoted', 'received', 'correlated', 'split', 'draft', 'pending_send', 'sent', 'failed', 'unknown', 'canceled',
    'refused', 'given_up', 'delayed', 'accepted', 'complaint', 'acknowledged', 'not_acknowledged', 'bounced',
    'ruled', 'ruling_undone', 'resolved', 'unresolved', 'taken_back', 'restored', 'erased')) NOT VALID;
COMMENT ON COLUMN crm.event.kind IS
    'promoted, received (another owner''s copy), correlated (with an email that came later, or again), split (off its thread), '
    'taken_back (by an owner to whom it came), restored (that was undone), erased (with all or a part of what it said, for a '
    'person''s sake), acknowledged (the router wrote an answer), not_acknowledged (it gave that up); of an outgoing email its '
    'new status: draft, pending_send, sent, failed, unknown, canceled; bounced (all recipients of a sent one); of one recipient: '
    'refused, given_up, delayed, accepted (by a report), complaint; '
    'ruled, ruling_undone (who a sender is, without email_id); resolved, unresolved (parties of an email, by that).';
