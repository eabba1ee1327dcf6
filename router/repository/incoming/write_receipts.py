"""What is written of who received the emails of a batch, and of what follows from that: answers, records, events."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from router.repository.incoming.batch import Decided, promoted_of
from router.repository.round_trip import Writes

_ACKNOWLEDGED_WITHIN: Final = timedelta(days=1)  # what comes in later is answered by a person, or not at all


def write_receipts(writes: Writes, new: Sequence[Decided]) -> None:
    """Write who received which email: the owners of this batch, and those whose earlier copies it overtakes."""
    writes.add(
        "receipts",
        """
        INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at, forward)
        SELECT DISTINCT ON (d.email_id, d.owner_id)
            d.email_id, d.owner_id, s.profile, s.folder, concat_ws(':', nullif(d.validity, ''), d.place), d.received_at,
            d.forward
        FROM (SELECT * FROM decisions UNION ALL SELECT * FROM overtaken) AS d
        JOIN router.source AS s ON s.id = d.source_id
        WHERE d.email_id IS NOT NULL AND d.owner_id IS NOT NULL
            -- An email that was erased has decisions still, but gets no receipts. One of this batch is not seen yet.
            AND (d.email_id = ANY($1::uuid[]) OR EXISTS (SELECT FROM crm.email AS e WHERE e.id = d.email_id))
        ORDER BY d.email_id, d.owner_id, d.id DESC
        -- A message that a person moved keeps its one receipt, with its new place.
        ON CONFLICT (email_id, owner_id) DO UPDATE
            SET profile = excluded.profile, folder = excluded.folder, place = excluded.place,
                forward = coalesce(excluded.forward, crm.receipt.forward)
            WHERE (crm.receipt.profile, crm.receipt.folder, crm.receipt.place)
                IS DISTINCT FROM (excluded.profile, excluded.folder, excluded.place)
        -- An inserted row has xmax 0, an updated row has this transaction's id there.
        RETURNING email_id, owner_id, xmax = 0 AS is_new
        """,
        [decision.email_id for _, decision in promoted_of(new)],
    )


def write_acknowledgements(writes: Writes, new: Sequence[Decided]) -> None:
    """Note what is to be acknowledged: what an owner received just now, and not what lay there before."""
    wanted = [(copy, decision) for copy, decision in new if decision.acknowledge]
    if not wanted:
        return
    writes.add(
        "acknowledgements",
        """
        INSERT INTO router.acknowledgement (email_id, owner_id)
        SELECT w.email_id, w.owner_id
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])
            AS w (email_id, owner_id, source_id, received_at)
        JOIN receipts AS r USING (email_id, owner_id)
        JOIN router.source AS s ON s.id = w.source_id
        JOIN crm.owner AS o ON o.record_id = w.owner_id
        WHERE r.is_new AND w.received_at > now() - $5::interval
            -- Mail servers tell whole seconds.
            AND w.received_at >= date_trunc('second', greatest(s.created_at, o.acknowledges_since))
        ON CONFLICT DO NOTHING
        """,
        [decision.email_id for _, decision in wanted],
        [copy.owner_id for copy, _ in wanted],
        [copy.source_id for copy, _ in wanted],
        [copy.received_at for copy, _ in wanted],
        _ACKNOWLEDGED_WITHIN,
    )


def write_creations(writes: Writes, new: Sequence[Decided]) -> None:
    """Note which records are wanted of what an owner received now: once, wherever a person moves the mail later."""
    wanted = [(decision.email_id, copy.owner_id, decision.creation) for copy, decision in new if decision.creation]
    if not wanted:
        return
    writes.add(
        "creations",
        """
        INSERT INTO router.creation (
            email_id, owner_id, rule, makes, sender, sender_name, unknown_sender, reopen_days, priority, fields
        )
        SELECT w.email_id, w.owner_id, w.rule, w.makes, w.sender, w.sender_name, w.unknown_sender, w.reopen_days,
            w.priority, w.fields::jsonb
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::text[],
            $10::text[]
        ) AS w (
            email_id, owner_id, rule, makes, sender, sender_name, unknown_sender, reopen_days, priority, fields
        )
        JOIN receipts AS r USING (email_id, owner_id)
        WHERE r.is_new
        ON CONFLICT DO NOTHING
        """,
        [email_id for email_id, _, _ in wanted],
        [owner_id for _, owner_id, _ in wanted],
        [one.rule for *_, one in wanted],
        [one.makes for *_, one in wanted],
        [one.sender for *_, one in wanted],
        [one.sender_name for *_, one in wanted],
        [one.unknown_sender for *_, one in wanted],
        [one.reopen_days for *_, one in wanted],
        [one.priority for *_, one in wanted],
        [json.dumps(dict(one.fields)) for *_, one in wanted],
    )


def write_events(writes: Writes, new: Sequence[Decided]) -> None:
    """Write an event for every new email, and for every further owner who received one; none for moved mail."""
    promoted = promoted_of(new)
    writes.add(
        "events",
        """
        INSERT INTO crm.event (kind, email_id, details)
        SELECT 'promoted', email_id, jsonb_build_object('owner_id', owner_id, 'rule', rule)
        FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS p (email_id, owner_id, rule)
        UNION ALL
        SELECT 'received', r.email_id, jsonb_build_object('owner_id', r.owner_id)
        FROM receipts AS r LEFT JOIN unnest($1::uuid[], $2::uuid[]) AS p (email_id, owner_id) USING (email_id, owner_id)
        WHERE r.is_new AND p.email_id IS NULL
        """,
        [decision.email_id for _, decision in promoted],
        [copy.owner_id for copy, _ in promoted],
        [decision.rule for _, decision in promoted],
    )
