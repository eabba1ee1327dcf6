"""Promote: one batch of copies, one transaction, a number of round trips that does not grow with the batch.

    BEGIN ─▶ lock what the batch shares ─▶ read the facts ─▶ decide ─▶ write ─▶ COMMIT

A batch with attachments asks once more, which of their contents are there; one with reports writes these last.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from router.model import Copy, Decision, Facts, Rule
from router.repository.batch import Batch, Decided
from router.repository.database import Connection, Database
from router.repository.facts import read_facts
from router.repository.reports import write_reports
from router.repository.write_batch import write_batch

Decide = Callable[[Sequence[Copy], Facts], list[Decision]]


async def promote(database: Database, batch: Batch, decide: Decide) -> list[Decision]:
    """Decide on every copy and commit what became of it; one decision per copy, in their order.

    Raises LeaseLost if another process holds the source now, ContentRefused if PostgreSQL cannot hold one of the
    messages, DatabaseAway if the same batch may succeed later, and what `decide` raises. Nothing is committed then.
    """
    async with database.transaction() as connection:
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


async def _promote(connection: Connection, batch: Batch, decide: Decide) -> list[Decision]:
    decisions: list[Decision] = []
    new: list[Decided] = []
    if batch.copies:
        facts = await read_facts(connection, batch.copies)
        decisions = await asyncio.to_thread(decide, batch.copies, facts)
        new = [
            (copy, decision)
            for copy, decision in zip(batch.copies, decisions, strict=True)
            if (copy.source_id, copy.place) not in facts.decided.places
        ]
    await write_batch(connection, batch, new)
    await write_reports(
        connection,
        [
            (decision.email.correlated_id, decision.report)
            for _, decision in new
            if decision.report and decision.email and decision.email.correlated_id
        ],
    )
    return decisions
