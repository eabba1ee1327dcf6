"""Auditing by itself: each mailbox that this process reads is audited once in a while, one after the other."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from router import metrics
from router.errors import DatabaseError
from router.health import Health
from router.incoming.audit import Auditor
from router.incoming.audited import MailboxAudit
from router.incoming.mailboxes import Holding
from router.repository.database import Database
from router.repository.incoming import audit as repository
from router.workers.pool import Workers

AGAIN: Final = timedelta(hours=1)
"""How long after an audit that failed the mailbox is audited again."""

LONGEST_AUDIT: Final = timedelta(hours=1)
"""How long one audit may take; what is left of it then goes on `AGAIN` later."""

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""The fewest and the most seconds between two audits; between these, all mailboxes are spread over the time."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often a mailbox is audited, and whether what is missing is then brought in."""

    every: timedelta = timedelta(days=1)
    repair: bool = False


async def audit_in_rounds(
    database: Database,
    workers: Workers,
    process_id: UUID,
    rounds: Rounds,
    held: Callable[[], Mapping[int, Holding]],
    health: Health,
) -> None:
    """Audit the mailboxes that this process holds, the one that waits for longest first, until canceled.

    `held` tells them by the id of their first source. A source is held by one process, so no two audit the same; and a
    mailbox at fault is asked by its reader alone.
    """
    while True:
        mailboxes = held()
        try:
            due = await repository.take_due(database, process_id, list(mailboxes), rounds.every, AGAIN)
            if due is not None:
                one = mailboxes[due]
                auditor = Auditor(database, workers, one.profile, one.owner, one.slots, repair=rounds.repair)
                try:
                    async with asyncio.timeout(LONGEST_AUDIT.total_seconds()):
                        await auditor.run()
                except TimeoutError:
                    await auditor.give_up(
                        f"it took longer than {LONGEST_AUDIT}: it goes on where it was when others have been"
                    )
                _tell(auditor.audit, repaired=rounds.repair)
            metrics.audits_sampled(
                await repository.missing_of(database, process_id),
                await repository.overdue_of(database, process_id, repository.LATE * rounds.every),
            )
            await health.works()
        except DatabaseError as error:
            await health.fails(str(error), SHORTEST_PAUSE)
        spread = rounds.every.total_seconds() / len(mailboxes) if mailboxes else SHORTEST_PAUSE
        await asyncio.sleep(min(max(spread, SHORTEST_PAUSE), LONGEST_PAUSE))


def _tell(audit: MailboxAudit, *, repaired: bool) -> None:
    """Tell log and metrics what an audit found: numbers, never contents."""
    tally, log = audit.tally, _log.bind(profile=audit.profile, mailbox=audit.mailbox or None)
    metrics.audit_ended(
        audit.profile,
        tally.messages,
        missing=tally.missing,
        failed=bool(audit.faults),
        brought_in=tally.brought_in,
    )
    for folder, fault in audit.faults:
        log.warning("an audit could not be ended", folder=folder or None, reason=fault)
    for name, folder_audit in audit.folders.items():
        of_folder = folder_audit.tally
        if of_folder.brought_in:
            log.warning("messages were missing, and are brought in", folder=name, messages=of_folder.brought_in)
        if of_folder.missing:
            command = f"email-router audit {audit.profile}" + (f" --owner {audit.mailbox}" if audit.mailbox else "")
            words = f"{command} tells which" if repaired else f"{command} --repair brings them in"
            log.error("messages are missing", folder=name, missing=of_folder.missing, next=words)
    if not tally.missing and not audit.faults:
        log.info("audited", messages=tally.messages, waiting=tally.waiting)
