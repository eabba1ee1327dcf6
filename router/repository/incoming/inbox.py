"""Promote: one batch of copies, one transaction, a number of round trips that does not grow with the batch.

    BEGIN ─▶ lock what the batch shares ─▶ read the facts ─▶ decide ─▶ write ─▶ COMMIT

A batch asks once more where a copy is automatic (how many such its thread has) and where one has attachments (which of
their contents are there). Reports are written apart, and the counts last. Where a message is to be kept, which deciding
tells, all of it is rolled back and done again once the message is compressed: nothing is compressed while the batch
locks what it shares. One of copies that are decided again undoes their decisions after it has read the facts.
"""

import asyncio
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from router.errors import OwnerGone
from router.model import Copy, CreationRule, Decision, Facts, Rule
from router.repository.bounces.reports import write_reports
from router.repository.database import Connection, Database
from router.repository.incoming.again import Undones, undo, with_reasons
from router.repository.incoming.batch import Batch, Decided
from router.repository.incoming.facts import read_facts
from router.repository.incoming.write_batch import write_batch, write_counts

Decide = Callable[[Sequence[Copy], Facts], list[Decision]]


async def promote(database: Database, batch: Batch, decide: Decide) -> list[Decision]:
    """Decide on every copy and commit what became of it; one decision per copy, in their order.

    Raises LeaseLost if another process holds the source now, OwnerGone if a copy's owner was removed or is not approved
    any more, ContentRefused if PostgreSQL cannot hold one of the
    messages, DatabaseAway if the same batch may succeed later, and what `decide` raises. Nothing is committed then.
    """
    packed: dict[UUID, bytes] = {}
    while True:
        try:
            async with database.transaction(planned_once=True) as connection:
                if batch.patience is not None:
                    await connection.execute(f"SET LOCAL lock_timeout = {batch.patience * 1000:.0f}")
                return await promote_in(connection, batch, decide, packed)
        except _NotPacked as found:
            packed |= await asyncio.to_thread(_pack, found.copies)


class _NotPacked(Exception):  # no error: it ends the transaction
    """The contents of these copies are to be kept, and not compressed yet."""

    def __init__(self, copies: Sequence[Copy]) -> None:
        super().__init__()
        self.copies = copies


def _pack(copies: Sequence[Copy]) -> dict[UUID, bytes]:
    return {copy.id: zlib.compress(copy.content, 1) for copy in copies}


async def rehearse(
    database: Database,
    copies: Sequence[Copy],
    decide: Decide,
    rules: Mapping[UUID, Rule],
    promoted: Collection[Copy] | None = None,
    creation_rules: Sequence[CreationRule] | None = None,
) -> list[Decision]:
    """Decide as `promote` does, with these rules in place of the owners' own, by owner; nothing is stored.

    Copies on which a person rules are decided again. With `promoted`, those of the copies that are emails of the CRM,
    all are decided on as if none had ever been seen. `creation_rules` stand in for those of the database.
    """
    async with database.rolled_back() as connection:
        facts = await read_facts(connection, copies)
        await undo(connection, [copy for copy in copies if copy.ruling], facts)
        if promoted is not None:
            facts.forget([copy.key for copy in promoted if copy.judged])
        facts.rules = {**facts.rules, **rules}
        if creation_rules is not None:
            facts.creation_rules = creation_rules
        return await asyncio.to_thread(decide, [facts.keyed(copy) for copy in copies], facts)


async def promote_in(
    connection: Connection, batch: Batch, decide: Decide, packed: Mapping[UUID, bytes]
) -> list[Decision]:
    """Do as `promote` does, in a transaction of the caller's; `packed` are contents to keep, compressed, by copy."""
    decisions: list[Decision] = []
    new: list[Decided] = []
    undone = Undones()
    if batch.copies:
        facts = await read_facts(connection, batch.copies)
        copies = [facts.keyed(copy) for copy in batch.copies]
        if any(copy.owner_id and copy.owner_id not in facts.rules for copy in batch.copies):
            raise OwnerGone("an owner whose mail came is not there any more, or not approved")
        if batch.again:
            undone = await undo(connection, copies, facts)
        decisions = await asyncio.to_thread(decide, copies, facts)
        if undone:
            decisions = with_reasons(copies, decisions, undone)
        new = [
            (copy, decision) for copy, decision in zip(copies, decisions, strict=True) if not decision.decided_before
        ]
    kept = [copy for copy, decision in new if batch.keeps_content(copy, decision)]
    if unpacked := [copy for copy in kept if copy.id not in packed]:
        raise _NotPacked(unpacked)
    overtaken = await write_batch(connection, batch, new, undone, [(copy, packed[copy.id]) for copy in kept])
    await write_reports(
        connection,
        [
            (decision.email.correlated_id, decision.report)
            for _, decision in new
            if decision.report and decision.email and decision.email.correlated_id
        ],
    )
    await write_counts(connection, new, undone, overtaken)
    return decisions
