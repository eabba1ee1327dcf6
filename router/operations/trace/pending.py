"""Why an email that the CRM wrote is not sent yet."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from router.operations import served, status
from router.operations.trace.found import Clue
from router.operations.words import moment
from router.repository.database import Database
from router.repository.overview.status import Status
from router.repository.owners.owners import find_owners
from router.repository.trace.trace import EmailFound


async def waits_for(database: Database, lease: timedelta, folder: Path, email: EmailFound) -> list[Clue]:
    """Tell what an email waits for; nothing, where it is not pending."""
    if email.status != "pending_send":
        return []
    report = await status.read(database, lease, folder)
    clues = list(_of_router(report.status))
    owner = (await find_owners(database, [email.sender])).get(email.sender)
    if owner is not None and not owner.approved:
        words = f'{email.sender} is not approved: "email-router owners approve {email.sender}"'
        clues.append(Clue("not approved", words, blocks=True))
    relay = (await served.read(database, lease, folder)).profiles.routes_of(email.sender).sends
    if relay is None:
        words = f'no outgoing profile carries the email of {email.sender}: add it to the "senders" of one'
        clues.append(Clue("no relay", words, blocks=True))
    for fault in report.status.relays:
        if relay is not None and fault.profile == relay.name:
            again = f", next try {moment(fault.next_try_at)}" if fault.next_try_at else ""
            words = f"{relay.title} cannot be used since {moment(fault.fault_since)}{again}: {fault.fault}"
            clues.append(Clue("relay", words, blocks=True))
    return clues


def _of_router(status: Status) -> Iterator[Clue]:
    if not any(one.alive for one in status.processes):
        yield Clue("no process", 'no router process runs: "email-router run" starts one', blocks=True)
    if status.sending.copied:
        words = 'this database is a copy of another: "email-router sending start" makes it the real one'
        yield Clue("sending off", words, blocks=True)
    elif not status.sending.on:
        reason = f": {status.sending.reason}" if status.sending.reason else ""
        yield Clue("sending off", f'sending is off{reason}: "email-router sending start" starts it', blocks=True)
