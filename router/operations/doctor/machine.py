"""Checks of what the router stands on: database, clocks, disk."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from router.operations.doctor.patient import Patient
from router.repository.server import read_clock, read_server
from transports.base import Finding

_CLOCK_WARNING = 5.0  # seconds of difference
_CLOCK_FAILED = 60.0  # certificates, tokens and dates of mail are wrong by then
_MB = 1024 * 1024
_DISK_WARNING = (0.10, 5000 * _MB)  # less is free than this share of the disk, and than these bytes
_DISK_FAILED = (0.02, 500 * _MB)
_CONNECTIONS_WARNING = 0.85  # share of max_connections in use


async def database(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the database answers, and has room for us."""
    if patient.database is None:
        embedded = patient.settings.database_url is None
        cure = (
            "look into the log of PostgreSQL in the data folder (EMAIL_ROUTER_DATA)"
            if embedded
            else "see that PostgreSQL runs and that EMAIL_ROUTER_DATABASE_URL names it, with role and password"
        )
        yield Finding("", "failed", patient.no_database, cure)
        return
    server = await read_server(patient.database)
    words = f"PostgreSQL {server.version}, schema {server.migration}, {server.size / _MB:.0f} MB"
    yield Finding("", "ok", words)
    if server.connections > _CONNECTIONS_WARNING * server.most_connections:
        words = f"{server.connections} of {server.most_connections} connections are in use"
        yield Finding("", "warning", words, "raise max_connections, or see who holds them in pg_stat_activity")


async def clocks(patient: Patient) -> AsyncIterator[Finding]:
    """Whether this machine, the database and the processes agree on the time."""
    database = patient.need_database()
    before = datetime.now(UTC)
    theirs = await read_clock(database)
    after = datetime.now(UTC)
    # It was read at some moment between the two.
    ahead = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    found = [("the database's clock and this machine's differ", ahead)]
    report = await patient.report()
    found += [
        (f"the clock of {one.title} and the database's differ", abs(one.clock_ahead))
        for one in report.status.processes
        if one.alive and one.clock_ahead is not None
    ]
    for words, seconds in found:
        if seconds > _CLOCK_WARNING:
            cure = "let NTP set the clocks of both machines"
            yield Finding("", "failed" if seconds > _CLOCK_FAILED else "warning", f"{words} by {seconds:.0f} s", cure)
    if all(seconds <= _CLOCK_WARNING for _, seconds in found):
        yield Finding("", "ok", "this machine, the database and all processes agree on the time")


async def disk(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the embedded database has room; another database's disk cannot be seen from here."""
    if patient.settings.database_url is not None:
        return
    folder = patient.settings.data
    total, free = await asyncio.to_thread(_space, folder)
    words = f"{free / _MB:,.0f} MB of {total / _MB:,.0f} MB are free where the data folder is ({folder})"
    cure = "make room, or move the folder (EMAIL_ROUTER_DATA): without room no mail is taken in"
    if free < min(_DISK_FAILED[0] * total, _DISK_FAILED[1]):
        yield Finding("", "failed", words, cure)
    elif free < min(_DISK_WARNING[0] * total, _DISK_WARNING[1]):
        yield Finding("", "warning", words, cure)
    else:
        yield Finding("", "ok", words)


def _space(folder: Path) -> tuple[int, int]:
    """Bytes of the file system that holds the folder, or would hold it: all, and those that are free."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.total, usage.free
