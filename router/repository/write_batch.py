"""Write all that became of a batch, in one statement: each table, and the cursor, is one part of it.

Only the counts are written apart: all batches of a source share a row there, and would wait for what one of them needs.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from router.errors import DatabaseCopied
from router.model import GIST_VERSION, OTHER_COPY, Copy, Decision, Disposition, Rule, message_id_hash
from router.model.never_track import patterns_of
from router.repository.again import Undones
from router.repository.attachments import missing_contents, write_attachments
from router.repository.batch import Batch, Decided
from router.repository.database import Connection
from router.repository.jsonb import as_calendar, as_candidates, as_envelope, as_rows
from router.repository.round_trip import Writes
from router.repository.sources import HELD, NO_FAULT, Lease
from router.repository.waiting import write_waiting
from transports.base import Cursor

_OVERTAKEN = "another copy made it the CRM's since"

_ACKNOWLEDGED_WITHIN: Final = timedelta(days=1)  # what comes in later is answered by a person, or not at all

Kept = tuple[Copy, bytes]


async def write_batch(
    connection: Connection, batch: Batch, new: Sequence[Decided], undone: Undones, kept: Sequence[Kept]
) -> Counter[int]:
    """Write all that became of a batch but the counts. Raises LeaseLost where another process holds its source now.

    Raises it in a copy of the database, too. Returns how many copies that were ignored are duplicates now, by source.
    `kept` are the contents, compressed with zlib, that are kept of held and dead copies.
    """
    writes = Writes()
    if new:
        await _write_emails(connection, writes, new)
        _write_decisions(writes, new, batch, undone)
        _write_flags(writes, new)
        _write_thread_indexes(writes, new)
        write_waiting(writes, new)
        _write_kept(writes, kept, undone)
        _write_receipts(writes, new)
        _write_acknowledgements(writes, new)
        _write_creations(writes, new)
        _write_events(writes, new)
    if batch.lease is not None:
        _advance(writes, batch.lease, batch.cursor, mended=batch.cursor is not None and not batch.waits)
    elif not new:
        return Counter()
    held = "(SELECT count(*) FROM held)" if batch.lease is not None else "(NOT router.is_copy())::int"
    overtaken = "ARRAY(SELECT source_id FROM overtaken)" if new else "ARRAY[]::bigint[]"
    (row,) = await writes.run(connection, f"{held} AS held, {overtaken} AS overtaken")
    if not row["held"]:
        raise batch.lease.lost() if batch.lease is not None else DatabaseCopied()
    return Counter(row["overtaken"])


def _advance(writes: Writes, lease: Lease, cursor: Cursor | None, *, mended: bool) -> None:
    """Move the cursor of a source that this process still holds; `mended`: nothing is wrong with it any more."""
    writes.add(
        "held",
        f"""
        UPDATE router.source
        SET cursor = coalesce($4, cursor){", " + NO_FAULT if mended else ""}
        WHERE {HELD} RETURNING id
        """,  # noqa: S608  # constants
        *lease.holder,
        cursor,
    )


async def _write_emails(connection: Connection, writes: Writes, new: Sequence[Decided]) -> None:
    promoted = [(copy, decision.email) for copy, decision in new if decision.email is not None]
    if not promoted:
        return
    writes.insert(
        "emails",
        "crm.email",
        {
            "id": "uuid", "direction": "text", "status": "text", "message_id": "text", "in_reply_to": "text",
            "thread_ids": "text[]", "subject": "text", "text_body": "text", "html_body": "text", "owner_id": "uuid",
            "dated_at": "timestamptz", "received_at": "timestamptz", "regarding_id": "uuid", "correlated_id": "uuid",
            "correlation_method": "text", "flags": "text[]", "defects": "text[]", "sent_at": "timestamptz",
            "calendar": "jsonb", "text_marks": "jsonb", "raw_headers": "jsonb", "tracking_rule": "text",
        },
        [
            (
                email.id, *(("out", "sent") if email.sent else ("in", "received")), email.message_id,
                email.in_reply_to, email.thread_ids, email.subject, email.text, email.html, email.owner_id,
                email.dated_at, email.received_at, email.regarding_id,
                email.correlated_id, email.method, email.flags, email.defects,
                (email.dated_at or email.received_at) if email.sent else None,
                as_calendar(email.calendar), as_rows(email.text_marks), as_rows(email.raw_headers), email.tracking_rule,
            )
            for _, email in promoted
        ],
    )  # fmt: skip
    writes.add(
        "keys",
        """
        UPDATE router.message AS m
        SET email_id = w.email_id, content = nullif(w.content, ''), gist = nullif(w.gist, '')
        FROM unnest($1::bytea[], $2::uuid[], $3::bytea[], $4::bytea[]) AS w (key, email_id, content, gist)
        WHERE m.key = w.key
        """,
        [copy.key for copy, _ in promoted],
        [email.id for _, email in promoted],
        [copy.likeness.content for copy, _ in promoted],
        [copy.likeness.gist for copy, _ in promoted],
    )
    ids: dict[bytes, UUID] = {}
    for _, email in promoted:
        if email.message_id:
            ids.setdefault(message_id_hash(email.message_id), email.id)
    writes.add(
        "known",
        """
        UPDATE router.message_id AS m SET email_id = w.email_id
        FROM unnest($1::bytea[], $2::uuid[]) AS w (hash, email_id)
        -- The first email of an id keeps it, for as long as there is that email.
        WHERE m.hash = w.hash AND NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = m.email_id)
            AND NOT EXISTS (
                SELECT FROM router.known_id AS k JOIN crm.email AS e ON e.id = k.email_id WHERE k.hash = w.hash
            )
        """,
        list(ids),
        list(ids.values()),
    )
    writes.insert(
        "parties",
        "crm.party",
        {
            "email_id": "uuid", "role": "text", "position": "int", "address": "text", "name": "text",
            "record_id": "uuid", "candidates": "uuid[]",
        },
        [
            (
                decision.email_id, party.role, party.position, party.address, party.name, party.record_id,
                [str(id_) for id_ in party.candidates],
            )
            for _, decision in new
            for party in decision.parties
        ],
    )  # fmt: skip
    ruled = [
        (decision.email_id, party.role, party.position, party.address, party.record_id, party.ruling_id)
        for _, decision in new
        for party in decision.parties
        if party.ruling_id is not None
    ]
    if ruled:
        writes.insert(
            "ruled",
            "router.ruled_party",
            {
                "email_id": "uuid", "role": "text", "position": "int", "address": "text", "record_id": "uuid",
                "ruling_id": "bigint",
            },
            ruled,
        )  # fmt: skip
    attached = {email.id: copy.attachments for copy, email in promoted if copy.attachments}
    if attached:
        write_attachments(writes, attached, await missing_contents(connection, attached))


def _write_decisions(writes: Writes, new: Sequence[Decided], batch: Batch, undone: Undones) -> None:
    """Write the decisions, and make earlier copies duplicates that were ignored before another was promoted."""
    # A copy that is still to be settled has no `settled_at`. A forward can hold several copies in one place; that place
    # is to be settled only if all of them are.
    staying = {copy.outer_place for copy, decision in new if not batch.to_be_settled(decision)}
    now = datetime.now(UTC)

    def settled_at(copy: Copy) -> datetime | None:
        former = undone.former(copy)
        if former and copy.forward and not copy.ruling:
            return former.settled_at  # for its outer place it was decided first
        others_wait = former is not None and former.others_wait
        return now if others_wait or copy.outer_place in staying else None

    def id_of(copy: Copy) -> int | None:
        """A letter that is ruled on keeps its number."""
        former = undone.get((copy.source_id, copy.place))
        return former.id if former and copy.ruling else None

    writes.insert(
        "decisions",
        "router.decision",
        {
            "source_id": "bigint", "validity": "text", "place": "text", "owner_id": "uuid", "key": "bytea",
            "email_id": "uuid", "disposition": "text", "rule": "text", "reasons": "text[]",
            "received_at": "timestamptz", "settled_at": "timestamptz", "outer_place": "text", "forward": "jsonb",
            "content": "bytea", "gist": "bytea", "sender_gist": "bytea", "gist_version": "smallint",
            "candidates": "jsonb", "id": "bigint",
        },
        [
            (
                copy.source_id, copy.place.validity, copy.place.id, copy.owner_id, copy.key if copy.judged else None,
                decision.email_id, decision.disposition, decision.rule, decision.reasons, copy.received_at,
                settled_at(copy), copy.forward.place.id if copy.forward else None,
                # The outer envelope, like all that tells of a mail, is not kept of what the rule ignores.
                as_envelope(copy.forward) if decision.email_id or batch.keeps_content(copy, decision) else None,
                (copy.likeness.content or None) if copy.judged else None,
                *_gist_of(copy, decision),
                as_candidates(decision.candidates),
                id_of(copy),
            )
            for copy, decision in new
        ],
        "RETURNING id, source_id, validity, place, owner_id, email_id, received_at, forward",
        numbers="router.decision_id_seq",
    )  # fmt: skip
    promoted = [(copy.key, decision.email_id, copy.likeness) for copy, decision in _promoted(new)]
    writes.add(
        "overtaken",
        f"""
        UPDATE router.decision AS d
        SET disposition = 'duplicate', email_id = w.email_id, reasons = d.reasons || $3::text,
            -- It is to be settled from now on, if it says the same; but 250 settled a listener's copy, and a forward is
            -- settled in any case.
            settled_at = CASE
                WHEN s.folder = '' OR d.outer_place IS NOT NULL OR d.content IS DISTINCT FROM w.content
                THEN d.settled_at
            END
        FROM unnest($1::bytea[], $2::uuid[], $4::bytea[], $5::bytea[], $6::jsonb[])
                AS w (key, email_id, content, gist, patterns),
            router.source AS s
        WHERE d.key = w.key AND d.disposition = 'ignored' AND d.rule <> 'none' AND s.id = d.source_id
            -- Another message, such as a forgery that came first, stays what it is.
            AND (d.gist_version = {GIST_VERSION} AND d.gist <> w.gist) IS NOT TRUE
            -- Nor has an owner anything of whom they never track by now.
            AND NOT EXISTS (
                SELECT FROM router.never_track AS n
                WHERE n.pattern IN (SELECT jsonb_array_elements_text(w.patterns))
                    AND (n.owner_id IS NULL OR n.owner_id = d.owner_id)
            )
        RETURNING d.id, d.source_id, d.validity, d.place, d.owner_id, d.email_id, d.received_at, d.forward
        """,  # noqa: S608  # a constant
        [key for key, _, _ in promoted],
        [email_id for _, email_id, _ in promoted],
        _OVERTAKEN,
        [likeness.content for *_, likeness in promoted],
        [likeness.gist or None for *_, likeness in promoted],
        [json.dumps(_senders_patterns(copy)) for copy, _ in _promoted(new)],
    )


def _senders_patterns(copy: Copy) -> list[str]:
    """Name the patterns by which an owner would never track those who sent a message."""
    senders = {copy.message.sender or "", *(author.address for author in copy.message.of("from"))}
    return [pattern for address in sorted(senders) for pattern in patterns_of(address)]


def _gist_of(copy: Copy, decision: Decision) -> tuple[bytes, bytes, int] | tuple[None, None, None]:
    """Of what is refused, what tells it from another message with the same key; nothing where it is not to be read."""
    refused = decision.disposition in (Disposition.IGNORED, Disposition.HELD)
    if not refused or not copy.judged or decision.rule is Rule.NONE or copy.sender_gist is None:
        return None, None, None
    return copy.likeness.gist, copy.sender_gist, GIST_VERSION


def _write_flags(writes: Writes, new: Sequence[Decided]) -> None:
    """Flag the emails of earlier batches of which there is a doubtful copy; those of this one are flagged already."""
    made = {decision.email_id for _, decision in _promoted(new)}
    doubtful = {decision.email_id for _, decision in new if decision.doubtful} - made
    if doubtful:
        writes.add(
            "flagged",
            "UPDATE crm.email SET flags = flags || $2::text WHERE id = ANY($1::uuid[]) AND NOT $2 = ANY(flags)",
            list(doubtful),
            OTHER_COPY,
        )


def _write_thread_indexes(writes: Writes, new: Sequence[Decided]) -> None:
    """Write Exchange's index of new emails, and of those that their owner's Sent folder tells it of."""
    indexed = {
        decision.email_id: (copy.message.conversation, copy.message.thread_index)
        for copy, decision in new
        if decision.email_id and copy.judged and copy.message.thread_index and (decision.email or copy.sent)
    }
    if indexed:
        writes.add(
            "thread_indexes",
            """
            INSERT INTO router.thread_index (email_id, conversation, position)
            SELECT w.email_id, w.conversation, w.position
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS w (email_id, conversation, position)
            -- An email that was erased has decisions still. One of this batch is not seen yet.
            WHERE w.email_id = ANY($4::uuid[]) OR EXISTS (SELECT FROM crm.email AS e WHERE e.id = w.email_id)
            ON CONFLICT DO NOTHING
            """,
            list(indexed),
            *map(list, zip(*indexed.values(), strict=True)),
            [decision.email_id for _, decision in _promoted(new)],
        )


def _promoted(new: Sequence[Decided]) -> Sequence[Decided]:
    return [(copy, decision) for copy, decision in new if decision.disposition is Disposition.PROMOTED]


def _write_kept(writes: Writes, kept: Sequence[Kept], undone: Undones) -> None:
    if not kept:
        return
    writes.add(
        "kept",
        """
        INSERT INTO router.kept_content (decision_id, content, recipients, sent, expires_at)
        SELECT d.id, w.content, ARRAY(SELECT json_array_elements_text(w.recipients)), w.sent,
            -- What is dead again expires no later for that.
            coalesce(w.expires_at, now() + current_setting('email_router.keep_bytes')::interval)
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::json[], $6::boolean[], $7::timestamptz[])
            AS w (source_id, validity, place, content, recipients, sent, expires_at)
        JOIN decisions AS d USING (source_id, validity, place)
        """,
        [copy.source_id for copy, _ in kept],
        [copy.place.validity for copy, _ in kept],
        [copy.place.id for copy, _ in kept],
        [content for _, content in kept],
        [json.dumps(copy.recipients) for copy, _ in kept],
        [copy.sent for copy, _ in kept],
        [former.expires_at if (former := undone.former(copy)) else None for copy, _ in kept],
    )


def _write_receipts(writes: Writes, new: Sequence[Decided]) -> None:
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
        [decision.email_id for _, decision in _promoted(new)],
    )


def _write_acknowledgements(writes: Writes, new: Sequence[Decided]) -> None:
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


def _write_creations(writes: Writes, new: Sequence[Decided]) -> None:
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


def _write_events(writes: Writes, new: Sequence[Decided]) -> None:
    """Write an event for every new email, and for every further owner who received one; none for moved mail."""
    promoted = _promoted(new)
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


async def write_counts(
    connection: Connection, new: Sequence[Decided], undone: Undones, overtaken: Counter[int]
) -> None:
    """Count dispositions by source, in sorted order, so that batches which overtake each other's cause no deadlock.

    To be called last: until the transaction ends, nobody else counts for these sources.
    """
    counts: dict[int, Counter[Disposition]] = {}
    for (source_id, _), former in undone.items():
        counts.setdefault(source_id, Counter())[former.disposition] -= 1
    for copy, decision in new:
        counts.setdefault(copy.source_id, Counter())[decision.disposition] += 1
    if not counts:
        return
    await connection.execute(
        """
        INSERT INTO router.source_count AS c (source_id, promoted, duplicate, ignored, held, dead, last_at)
        SELECT source_id, sum(promoted), sum(duplicate), sum(ignored), sum(held), sum(dead),
            CASE WHEN bool_or(decided) THEN now() END
        FROM (
            SELECT *, true AS decided
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
                AS w (source_id, promoted, duplicate, ignored, held, dead)
            UNION ALL
            SELECT source_id, 0, number, -number, 0, 0, false
            FROM unnest($7::bigint[], $8::bigint[]) AS o (source_id, number)
        ) AS w
        GROUP BY source_id ORDER BY source_id
        ON CONFLICT (source_id) DO UPDATE SET
            promoted = c.promoted + excluded.promoted, duplicate = c.duplicate + excluded.duplicate,
            ignored = c.ignored + excluded.ignored, held = c.held + excluded.held, dead = c.dead + excluded.dead,
            last_at = coalesce(excluded.last_at, c.last_at)
        """,
        list(counts),
        *([of_source[disposition] for of_source in counts.values()] for disposition in Disposition),
        list(overtaken),
        list(overtaken.values()),
    )
