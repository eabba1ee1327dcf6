"""Asks everything at once: what is wrong, worst first, and what to do about each.

Each check stands alone: one that fails, or takes longer than its limit, is a finding itself and stops no other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from router.errors import DatabaseError, RouterError, whereabouts
from router.operations.doctor import machine, mail, servers
from router.operations.doctor.patient import NoDatabase, Patient
from router.operations.probe import OpenDatabase
from router.settings import Settings
from transports.base import Finding

__all__ = ["CHECKS", "Check", "Finding", "examine", "make"]

_OPENING = 30.0  # seconds that opening the database may take

_ORDER = {"failed": 0, "warning": 1, "ok": 2}


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, what it does, and the seconds that it may take."""

    name: str
    find: Callable[[Patient], AsyncIterator[Finding]]
    limit: float = 10.0


CHECKS: Sequence[Check] = (
    Check("database", machine.database),
    Check("clocks", machine.clocks),
    Check("disk", machine.disk),
    Check("console", machine.console),
    Check("signing in", machine.provider, limit=20.0),
    Check("processes", mail.processes),
    Check("profiles", mail.profiles),
    Check("rules", mail.rules),
    Check("tokens", mail.tokens),
    Check("sending", mail.sending),
    Check("sent mail", mail.sent_copies),
    Check("owners", mail.owners),
    Check("faults", mail.faults),
    Check("waiting", mail.waiting),
    Check("servers", servers.servers, limit=90.0),
)
"""In the order in which findings that are equally bad are told."""


async def examine(
    settings: Settings, open_database: OpenDatabase, checks: Sequence[Check] = CHECKS
) -> Sequence[Finding]:
    """Make all checks at the same time. The findings are named by their check, and come worst first."""
    async with AsyncExitStack() as stack:
        patient = Patient(settings)
        try:
            async with asyncio.timeout(_OPENING):
                patient.database = await stack.enter_async_context(open_database())
        except DatabaseError as error:
            patient.no_database = str(error)
        except TimeoutError:
            patient.no_database = f"the database did not answer within {_OPENING:g} s"
        try:
            found = await asyncio.gather(*(make(check, patient) for check in checks))
        finally:
            await patient.leave()
    return sorted((finding for findings in found for finding in findings), key=lambda one: _ORDER[one.state])


async def make(check: Check, patient: Patient) -> list[Finding]:
    """Make one check; what it stumbles over is a finding, too."""
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(check.limit):
            async for finding in check.find(patient):
                findings.append(replace(finding, step=check.name))  # noqa: PERF401  # those before a fault are kept
    except NoDatabase:
        pass  # the check of the database tells it
    except TimeoutError:
        findings.append(Finding(check.name, "failed", f"this check did not end within {check.limit:g} s"))
    except RouterError as error:
        findings.append(Finding(check.name, "failed", str(error)))
    except Exception as error:  # noqa: BLE001  # a mistake of ours in one check must not hide what the others find
        words = f"this check broke by a mistake of the router: {whereabouts(error)}"
        findings.append(Finding(check.name, "failed", words, "report it to those who make the router"))
    return findings
