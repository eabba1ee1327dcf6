"""Whether all is well, in one sentence; what is not, worst first, each with its cure; and the last day in numbers.

What is said is what `doctor` says; it asks no mail server here, as a page is opened more often than that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from router.model import Disposition
from router.operations.backing import Backing
from router.operations.doctor import Check, mail, make
from router.operations.doctor.patient import Patient
from router.operations.status import Report
from router.operations.words import count
from router.repository.database import Database
from router.repository.overview.samples import EVERY, Sample, read_samples
from transports.base import Finding

__all__ = ["Finding", "Overview", "Quarter", "day_of", "overview_of", "read", "read_day"]

_CHECKS: Final[Sequence[Check]] = (
    Check("processes", mail.processes),
    Check("profiles", mail.profiles),
    Check("sending", mail.sending),
    Check("faults", mail.faults),
    Check("waiting", mail.waiting),
    Check("rules", mail.rules),
    Check("tokens", mail.tokens),
    Check("owners", mail.owners),
    Check("sent mail", mail.sent_copies),
)

_QUARTERS: Final = 96  # of the last day


@dataclass(frozen=True, slots=True)
class Overview:
    """What is wrong (`failed`), what waits for somebody (`warnings`), and how many mailboxes and listeners are served.

    `audited_at` is when the last audit of any mailbox ended, `unaccounted` how many messages on mail servers the last
    audits found that nothing accounts for.
    """

    failed: Sequence[Finding]
    warnings: Sequence[Finding]
    mailboxes: int
    listeners: int
    audited_at: datetime | None
    unaccounted: int

    @property
    def served(self) -> str:
        """What is served, in words: `12 mailboxes, 1 listener`."""
        mailboxes, listeners = count(self.mailboxes, "mailbox", "mailboxes"), count(self.listeners, "listener")
        if not self.listeners:
            return mailboxes
        return f"{mailboxes}, {listeners}" if self.mailboxes else listeners

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong and nobody need look at anything."""
        return not self.failed and not self.warnings


@dataclass(frozen=True, slots=True)
class Quarter:
    """What came in and went out in a quarter of an hour, which ended `at`, and how it was then; None: nobody noted it.

    `lag` is in seconds, `to_send` and `unresolved` are emails: all as of `router.repository.overview.samples`.
    """

    at: datetime
    copies: Mapping[Disposition, int] | None = None
    outcomes: Mapping[str, int] | None = None
    lag: float | None = None
    to_send: int | None = None
    unresolved: int | None = None


async def read(backing: Backing) -> Overview:
    """Look whether all is well."""
    patient = Patient(backing.settings)
    patient.database = backing.database
    try:
        report = await patient.report()
        found = await asyncio.gather(*(make(one, patient) for one in _CHECKS))
    finally:
        await patient.leave()
    return overview_of(report, [finding for findings in found for finding in findings])


def overview_of(report: Report, findings: Sequence[Finding]) -> Overview:
    """Put together what was found."""
    findings = list({one.words: one for one in reversed(findings)}.values())[::-1]  # each fault once
    served = [one for one in report.status.sources if one.served]
    audited = [one.audit.at for one in served if one.audit and one.audit.at]
    return Overview(
        [one for one in findings if one.state == "failed"],
        [one for one in findings if one.state == "warning"],
        len({(one.profile, one.mailbox) for one in served if one.folder}),
        len({one.profile for one in served if not one.folder}),
        max(audited, default=None),
        sum(one.audit.missing for one in served if one.audit),
    )


async def read_day(database: Database) -> Sequence[Quarter]:
    """Read what came and went in the last day, the oldest quarter of an hour first."""
    return day_of(await read_samples(database, (_QUARTERS + 2) * EVERY), datetime.now(UTC))


def day_of(samples: Sequence[Sample], now: datetime) -> Sequence[Quarter]:
    """Tell what came between each two samples; what nobody looked at for long is told with the next."""
    known = {after.at: _between(before, after) for before, after in pairwise(samples)}
    last = datetime.fromtimestamp(now.timestamp() // EVERY.total_seconds() * EVERY.total_seconds(), UTC)
    moments = [last - EVERY * step for step in reversed(range(_QUARTERS))]
    return [known.get(at) or Quarter(at) for at in moments]


def _between(before: Sample, after: Sample) -> Quarter:
    return Quarter(
        after.at,
        # What was held is something else once it is released, so that a total can shrink.
        {one: max(0, number - before.copies[one]) for one, number in after.copies.items()},
        {one: max(0, number - before.outcomes[one]) for one, number in after.outcomes.items()},
        after.lag,
        after.to_send,
        after.unresolved,
    )
