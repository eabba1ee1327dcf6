"""Mail out, from pending_send to recorded outcomes, through real router processes into Postfix' smtp-sink.

Two figures: how many emails of 8 KB a second leave a full queue, beside what smtp-source does in the same run over as
many connections, and django-post-office (`django_post_office.py` says what it does not do); and how long a lone email
takes from the CRM's commit until the relay has it.
"""

import argparse
import asyncio
import os
import socket
import statistics
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from tests.benchmarks import django_post_office
from tests.benchmarks.django import Program
from tests.benchmarks.stage import Stage, staged
from tests.servers.ports import free_port
from tests.support.scripted_smtp import ScriptedSmtp

TEXT = "The quick brown fox jumps over the lazy dog.\n" * 180  # 8 KB

PROFILE = """
[outgoing.bench]
transport = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
senders = ["*@bench.test"]
connections = {connections}
"""


@asynccontextmanager
async def program(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is ended in the end."""
    process = await asyncio.create_subprocess_exec(*map(str, arguments))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def sink() -> AsyncIterator[int]:
    """smtp-sink; its port."""
    port = free_port()
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    async with program("smtp-sink", *user, f"127.0.0.1:{port}", 1000):
        while socket.socket().connect_ex(("127.0.0.1", port)):
            await asyncio.sleep(0.02)
        yield port


async def source(port: int, count: int, connections: int) -> float:
    """Let smtp-source send as many messages of this size; messages a second."""
    began = time.perf_counter()
    arguments = ("-d", "-s", connections, "-l", len(TEXT), "-m", count, "-f", "a@bench.test", "-t", "b@kunde.test")
    async with program("smtp-source", *arguments, f"127.0.0.1:{port}") as process:
        await process.wait()
    return count / (time.perf_counter() - began)


@asynccontextmanager
async def routers(stage: Stage, dsn: str, port: int, connections: int, count: int) -> AsyncIterator[Sequence[Process]]:
    """So many routers, until each listens for pending email."""
    profile = PROFILE.format(port=port, connections=connections)
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(stage.process(dsn, profile, CONSOLE="off")) for _ in range(count)]
        crm = await asyncpg.connect(dsn)
        listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'email-router listen'"
        carried = "SELECT count(profile) FROM router.route"
        while await crm.fetchval(listening) < count or not await crm.fetchval(carried):
            await asyncio.sleep(0.05)
        await crm.close()
        yield started


async def drafts(crm: "asyncpg.Connection[asyncpg.Record]", count: int) -> Sequence[object]:
    """Write so many emails that are not to be sent yet; their ids."""
    rows = await crm.fetch(
        f"""
        WITH e AS (
            INSERT INTO crm.email (direction, status, subject, text_body)
            SELECT 'out', 'draft', 'Number ' || n, $letter${TEXT}$letter$ FROM generate_series(1, {count}) AS n
            RETURNING id
        ), p AS (
            INSERT INTO crm.party (email_id, role, position, address)
            SELECT id, role, 0, address FROM e, (VALUES ('from', 'ann@bench.test'), ('to', 'karl@kunde.test'))
                AS party (role, address)
        )
        SELECT id FROM e
        """
    )
    await crm.execute("ANALYZE")
    return [row["id"] for row in rows]


async def drain(crm: "asyncpg.Connection[asyncpg.Record]", count: int) -> float:
    """Queue so many emails at once; emails a second, until the last outcome is recorded."""
    await drafts(crm, count)
    await crm.execute("UPDATE crm.email SET status = 'pending_send' WHERE status = 'draft'")
    began = time.perf_counter()
    while await crm.fetchval("SELECT EXISTS (SELECT FROM router.outbox)"):
        await asyncio.sleep(0.02)
    return count / (time.perf_counter() - began)


class Clocked(ScriptedSmtp):
    """A relay that tells when it had taken a message, and how many seconds it took for that from MAIL FROM on."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: asyncio.Queue[tuple[float, float]] = asyncio.Queue()
        self._began = 0.0

    async def _reply(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if line.startswith("MAIL"):
            self._began = time.perf_counter()
        going = await super()._reply(line, reader, writer)
        if line == ".":
            now = time.perf_counter()
            self.taken.put_nowait((now, now - self._began))
        return going


async def latency(
    crm: "asyncpg.Connection[asyncpg.Record]", relay: Clocked, count: int
) -> tuple[list[float], list[float]]:
    """Send emails one by one; milliseconds from the commit until the relay has said 250, and what of it was its own."""
    whole, its = [], []
    for email_id in await drafts(crm, count):
        await crm.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
        began = time.perf_counter()
        ended, took = await relay.taken.get()
        whole.append((ended - began) * 1000)
        its.append(took * 1000)
        await asyncio.sleep(0.02)
    return whole, its


async def measure(count: int, connections: int, processes: Sequence[int], django_emails: int) -> None:
    """Print all figures."""
    async with staged("outbound") as stage, sink() as port, stage.database(["ann@bench.test"]) as dsn:
        crm = await asyncpg.connect(dsn)
        best = 0.0
        for number in processes:
            rate = await source(port, count, connections)
            say(f"smtp-source, {connections} connections", f"{rate:.0f}/s")
            async with routers(stage, dsn, port, connections, number) as started:
                await drain(crm, 100)
                before = stage.cpu(*started)
                ours = await drain(crm, count)
                used = stage.cpu(*started) - before
            best = max(best, ours)
            say(f"{number} router, {connections} connections each", f"{ours:.0f}/s, {ours / rate:.0%} of smtp-source")
            mine, postgresql = (seconds / count * 1000 for seconds in (used.router, used.postgresql))
            say("", f"{mine:.2f} ms of the processor an email, and {postgresql:.2f} of PostgreSQL's")
        if django_emails:
            django = await Program.installed(django_post_office.APPLICATION)
            theirs = await django_post_office.drain(django, stage, port, connections, django_emails, TEXT)
            say(f"django-post-office, {connections} threads", f"{theirs:.0f}/s; {django.versions}")
            say("", f"ours is {best / theirs:.1f} times as fast")
        async with Clocked() as relay, routers(stage, dsn, relay.port, connections, 1):
            await latency(crm, relay, 20)
            whole, its = await latency(crm, relay, 300)
            apart = [one - its_own for one, its_own in zip(whole, its, strict=True)]
            median, late = statistics.median(whole), statistics.quantiles(whole, n=20)[-1]
            say("from the commit to the relay's 250", f"{median:.1f} ms median, {late:.1f} ms for 95%")
            median, late = statistics.median(apart), statistics.quantiles(apart, n=20)[-1]
            say("the same without the relay's own time", f"{median:.1f} ms median, {late:.1f} ms for 95%")
        await crm.close()


def say(what: str, figures: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{what:40} {figures}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.outbound", description=__doc__)
    parser.add_argument("--emails", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--django-emails", type=int, default=2000, help="for django-post-office; 0 leaves it out")
    chosen = parser.parse_args()
    asyncio.run(measure(chosen.emails, chosen.connections, chosen.processes, chosen.django_emails))
