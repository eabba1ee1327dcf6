"""Checks of what the router stands on: database, clocks, disk."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from router.operations.doctor.patient import Patient
from router.postgres.disk import read_disk
from router.repository.overview.server import read_clock, read_server
from router.repository.people import people
from router.settings import is_here
from transports.base import Finding

_CLOCK_WARNING = 5.0  # seconds of difference
_CLOCK_FAILED = 60.0  # certificates, tokens and dates of mail are wrong by then
_MB = 1024 * 1024
_DISK_FAILED = 98  # percent used
_CONNECTIONS_WARNING = 0.85  # share of max_connections in use


async def database(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the database answers, and has room for us."""
    if patient.database is None:
        if patient.settings.database_url is not None:
            cure = "see that PostgreSQL runs and that EMAIL_ROUTER_DATABASE_URL names it, with role and password"
        elif await asyncio.to_thread(patient.settings.data.exists):
            cure = "do as it says; PostgreSQL's own log is in the data folder (EMAIL_ROUTER_DATA)"
        else:
            cure = "do as it says"
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
    settings = patient.settings
    found = await asyncio.to_thread(read_disk, settings.data, settings.disk_warning)
    if found is None:
        return  # there is no data folder yet, which the check of the database tells
    words = f"{found.used_percent}% used, {found.free / _MB:,.0f} MB free where the data folder is ({found.folder})"
    if found.fault is None:
        yield Finding("", "ok", words)
        return
    cure = "make room, or move the folder (EMAIL_ROUTER_DATA): without room no mail is taken in"
    state: Final = "failed" if found.full or found.used_percent >= _DISK_FAILED else "warning"
    yield Finding("", state, f"{found.fault} ({words})", cure)


async def console(patient: Patient) -> AsyncIterator[Finding]:
    """Whether people reach the console in a way in which nobody else can listen, and whether there is anybody."""
    settings = patient.settings
    address = settings.console_address
    if address is None:
        return
    beyond = not ip_address(address.host).is_loopback
    if beyond and not settings.trusted_proxies:
        words = (
            f"the console at {address} serves nobody beyond this machine: neither pages nor the API go over clear text"
        )
        cure = (
            "put a proxy with TLS before it that sends X-Forwarded-Proto, and name its address in "
            "EMAIL_ROUTER_TRUSTED_PROXIES; or let it answer at 127.0.0.1"
        )
        yield Finding("", "warning", words, cure)
    elif (
        settings.console_url is not None
        and settings.console_url.startswith("http://")
        and not is_here(settings.console_url)
    ):
        words = f"EMAIL_ROUTER_CONSOLE_URL, {settings.console_url}, is clear text beyond this machine: it is refused"
        yield Finding("", "failed", words, "write https:// there, and have a proxy with TLS before the console")
    database = patient.need_database()
    if not await people.there_are_any(database):
        yield Finding(
            "", "ok", 'nobody may use the console yet: "email-router staff link" lets the first administrator in'
        )
        return
    yield Finding("", "ok", f"people reach the console at {settings.console_link}/")


async def provider(patient: Patient) -> AsyncIterator[Finding]:
    """Whether people can sign in by the provider, where there is one; who has none does without its libraries."""
    if patient.settings.oidc_issuer is None or patient.settings.console_address is None:
        return
    from router.operations.doctor import signing_in  # noqa: PLC0415

    async for finding in signing_in.provider(patient):
        yield finding
