"""Promote: one batch of copies, one transaction, a number of queries that does not grow with the batch."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from router.errors import LeaseLost
from router.model import Copy, Decision, Disposition, Facts, Rule
from router.repository.attachments import write_attachments
from router.repository.database import Connection, Database
from router.repository.facts import read_facts
from router.repository.jsonb import as_calendar, as_envelope, as_rows
from router.repository.reports import write_reports
from router.repository.sources import Lease
from transports.base import Cursor

Decide = Callable[[Sequence[Copy], Facts], list[Decision]]

_KEEP_CONTENT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Batch:
    """Copies of one source, oldest first.

    `lease` is None for a listener, which has no cursor. `settles`: the dispositions of copies that are still to be
    settled on the mail server. `keeps`: the content may exist nowhere else, so it is kept of a held or dead copy.
    """

    copies: Sequence[Copy]
    lease: Lease | None = None
    cursor: Cursor | None = None
    settles: frozenset[Disposition] = frozenset()
    keeps: bool = False


Decided = tuple[Copy, Decision]


async def promote(database: Database, batch: Batch, decide: Decide) -> list[Decision]:
    """Decide on every copy and commit what became of it; one decision per copy, in their order.

    Raises LeaseLost if another process holds the source now, ContentRefused if PostgreSQL cannot hold one of the
    messages, DatabaseAway if the same batch may succeed later, and what `decide` raises. Nothing is committed then.
    """
    async with database.transaction() as connection:
        if batch.lease is not None:
            await _advance(connection, batch.lease, batch.cursor)
        if not batch.copies:
            return []
        return await _promote(connection, batch, decide)


async def try_out(database: Database, copy: Copy, decide: Decide) -> None:
    """Promote one copy and roll back, to see whether it can be promoted. Raises as `promote` does."""
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await _promote(connection, Batch([copy], keeps=True), decide)
        finally:
            await transaction.rollback()


async def _promote(connection: Connection, batch: Batch, decide: Decide) -> list[Decision]:
    facts = await read_facts(connection, batch.copies)
    decisions = await asyncio.to_thread(decide, batch.copies, facts)
    new = [
        (copy, decision)
        for copy, decision in zip(batch.copies, decisions, strict=True)
        if (copy.source_id, copy.place) not in facts.decided.places
    ]
    await _write_emails(connection, new)
    await _write_decisions(connection, new, batch)
    overtaken = await _mark_duplicates(connection, new)
    receipts = await _write_receipts(connection, new)
    await _write_events(connection, new, receipts)
    await write_reports(
        connection,
        [
            (decision.email.correlated_id, decision.report)
            for _, decision in new
            if decision.report and decision.email and decision.email.correlated_id
        ],
    )
    await _count(connection, new, overtaken)
    return decisions


async def rehearse(
    database: Database, copies: Sequence[Copy], decide: Decide, rules: Mapping[UUID, Rule]
) -> list[Decision]:
    """Decide as `promote` does, with these rules in place of the owners' own, by owner; nothing is stored."""
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            facts = await read_facts(connection, copies)
            facts.rules = {**facts.rules, **rules}
            return await asyncio.to_thread(decide, copies, facts)
        finally:
            await transaction.rollback()


async def _advance(connection: Connection, lease: Lease, cursor: Cursor | None) -> None:
    """Move the cursor. This is the first query: it locks the source, and finds out at once if the lease was lost."""
    held = await connection.fetchval(
        """
        UPDATE router.source
        SET cursor = coalesce($4, cursor), fault = NULL, fault_since = NULL, next_try_at = NULL
        WHERE id = $1 AND process_id = $2 AND epoch = $3 RETURNING id
        """,
        lease.source_id,
        lease.process_id,
        lease.epoch,
        cursor,
    )
    if held is None:
        raise LeaseLost(f"source {lease.source_id} is held by another process now")


async def _write_emails(connection: Connection, new: Sequence[Decided]) -> None:
    promoted = [(copy, decision.email) for copy, decision in new if decision.email is not None]
    if not promoted:
        return
    await connection.copy_records_to_table(
        "email",
        schema_name="crm",
        columns=[
            "id", "direction", "status", "message_id", "in_reply_to", "thread_ids", "subject",
            "text_body", "html_body", "owner_id", "dated_at", "received_at", "regarding_id",
            "correlated_id", "correlation_method", "flags", "defects", "sent_at", "calendar",
            "text_marks", "raw_headers",
        ],
        records=[
            (
                email.id, *(("out", "sent") if email.sent else ("in", "received")), email.message_id,
                email.in_reply_to, email.thread_ids, email.subject, email.text, email.html, email.owner_id,
                email.dated_at, email.received_at, email.regarding_id,
                email.correlated_id, email.method, email.flags, email.defects,
                (email.dated_at or email.received_at) if email.sent else None,
                as_calendar(email.calendar), as_rows(email.text_marks), as_rows(email.raw_headers),
            )
            for _, email in promoted
        ],
    )  # fmt: skip
    await connection.execute(
        """
        UPDATE router.message AS m SET email_id = w.email_id
        FROM unnest($1::bytea[], $2::uuid[]) AS w (key, email_id) WHERE m.key = w.key
        """,
        [copy.key for copy, _ in promoted],
        [email.id for _, email in promoted],
    )
    await connection.copy_records_to_table(
        "party",
        schema_name="crm",
        columns=["email_id", "role", "position", "address", "name", "record_id"],
        records=[
            (decision.email_id, party.role, party.position, party.address, party.name, party.record_id)
            for _, decision in new
            for party in decision.parties
        ],
    )
    await write_attachments(connection, {email.id: copy.attachments for copy, email in promoted})


async def _write_decisions(connection: Connection, new: Sequence[Decided], batch: Batch) -> None:
    if not new:
        return
    # A copy that is still to be settled has no `settled_at`. A forward can hold several copies in one place; that place
    # is to be settled only if all of them are.
    staying = {copy.outer_place for copy, decision in new if decision.disposition not in batch.settles}
    now = datetime.now(UTC)
    await connection.copy_records_to_table(
        "decision",
        schema_name="router",
        columns=[
            "source_id", "validity", "place", "owner_id", "key", "email_id", "disposition", "rule", "reasons",
            "received_at", "settled_at", "outer_place", "forward",
        ],
        records=[
            (
                copy.source_id, copy.place.validity, copy.place.id, copy.owner_id, copy.key if copy.judged else None,
                decision.email_id, decision.disposition, decision.rule, decision.reasons, copy.received_at,
                now if copy.outer_place in staying else None, copy.forward.place.id if copy.forward else None,
                # The outer envelope, like all that tells of a mail, is not kept of what the rule ignores.
                as_envelope(copy.forward) if decision.email_id else None,
            )
            for copy, decision in new
        ],
    )  # fmt: skip
    kept = [
        copy
        for copy, decision in new
        if decision.disposition in (Disposition.HELD, Disposition.DEAD)
        and copy.content
        and (batch.keeps or decision.rule is Rule.ALL)
    ]
    if kept:
        await connection.execute(
            """
            INSERT INTO router.kept_content (decision_id, content, expires_at)
            SELECT d.id, w.content, now() + $5
            FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[]) AS w (source_id, validity, place, content)
            JOIN router.decision AS d USING (source_id, validity, place)
            """,
            [copy.source_id for copy in kept],
            [copy.place.validity for copy in kept],
            [copy.place.id for copy in kept],
            [zlib.compress(copy.content, 0) for copy in kept],  # level 0: no work for the processor in a transaction
            _KEEP_CONTENT,
        )


async def _mark_duplicates(connection: Connection, new: Sequence[Decided]) -> Counter[int]:
    """Make copies duplicates that were ignored before another copy was promoted; return how many, by source."""
    promoted = [(copy, decision.email_id) for copy, decision in new if decision.disposition is Disposition.PROMOTED]
    if not promoted:
        return Counter()
    rows = await connection.fetch(
        """
        UPDATE router.decision AS d
        SET disposition = 'duplicate', email_id = w.email_id,
            reasons = d.reasons || 'another copy made it the CRM''s since'::text,
            -- It is to be settled from now on; but 250 settled a listener's copy, and a forward is settled in any case.
            settled_at = CASE WHEN s.folder = '' OR d.outer_place IS NOT NULL THEN d.settled_at END
        FROM unnest($1::bytea[], $2::uuid[]) AS w (key, email_id), router.source AS s
        WHERE d.key = w.key AND d.disposition = 'ignored' AND d.rule <> 'none' AND s.id = d.source_id
        RETURNING d.source_id
        """,
        [copy.key for copy, _ in promoted],
        [email_id for _, email_id in promoted],
    )
    return Counter(row["source_id"] for row in rows)


async def _write_receipts(connection: Connection, new: Sequence[Decided]) -> list[tuple[UUID, UUID]]:
    """Write who received which email; return email and owner of each receipt that is new."""
    # An email that was erased has decisions still, but gets no receipts.
    rows = await connection.fetch(
        """
        INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at, forward)
        SELECT DISTINCT ON (d.email_id, d.owner_id)
            d.email_id, d.owner_id, s.profile, s.folder, concat_ws(':', nullif(d.validity, ''), d.place), d.received_at,
            d.forward
        FROM router.decision AS d
        JOIN router.source AS s ON s.id = d.source_id
        JOIN crm.email AS e ON e.id = d.email_id
        WHERE d.email_id = ANY($1::uuid[]) AND d.owner_id IS NOT NULL
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
        list({decision.email_id for _, decision in new if decision.email_id}),
    )
    return [(row["email_id"], row["owner_id"]) for row in rows if row["is_new"]]


async def _write_events(connection: Connection, new: Sequence[Decided], receipts: Sequence[tuple[UUID, UUID]]) -> None:
    """Write an event for every new email, and for every further owner who received one; none for moved mail."""
    promoted = {
        decision.email_id: copy.owner_id for copy, decision in new if decision.disposition is Disposition.PROMOTED
    }
    told: list[tuple[str, UUID | None]] = [("promoted", email_id) for email_id in promoted]
    told += [("received", email_id) for email_id, owner_id in receipts if promoted.get(email_id) != owner_id]
    if told:
        await connection.execute(
            "INSERT INTO crm.event (kind, email_id) SELECT * FROM unnest($1::text[], $2::uuid[])",
            [kind for kind, _ in told],
            [email_id for _, email_id in told],
        )


async def _count(connection: Connection, new: Sequence[Decided], overtaken: Counter[int]) -> None:
    """Count dispositions by source. It is the last query, and in sorted order, so that it causes no deadlocks."""
    counts: dict[int, Counter[Disposition]] = {}
    for copy, decision in new:
        counts.setdefault(copy.source_id, Counter())[decision.disposition] += 1
    decided = set(counts)
    for source_id, number in overtaken.items():
        changed = {Disposition.DUPLICATE: number, Disposition.IGNORED: -number}
        counts.setdefault(source_id, Counter()).update(changed)
    if not counts:
        return
    source_ids = sorted(counts)
    await connection.execute(
        """
        INSERT INTO router.source_count AS c (source_id, promoted, duplicate, ignored, held, dead, last_at)
        SELECT source_id, promoted, duplicate, ignored, held, dead, CASE WHEN decided THEN now() END
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[])
            AS w (source_id, promoted, duplicate, ignored, held, dead, decided)
        ON CONFLICT (source_id) DO UPDATE SET
            promoted = c.promoted + excluded.promoted, duplicate = c.duplicate + excluded.duplicate,
            ignored = c.ignored + excluded.ignored, held = c.held + excluded.held, dead = c.dead + excluded.dead,
            last_at = coalesce(excluded.last_at, c.last_at)
        """,
        source_ids,
        *([counts[source_id][disposition] for source_id in source_ids] for disposition in Disposition),
        [source_id in decided for source_id in source_ids],
    )
