"""Mail in through the SMTP listener, and out through the relay into a sink; by default 2,000 messages each way.

The router is a process of its own with a PostgreSQL of its own, as `email-router run` starts it; clients and sink are
this process, and take their part of the processor.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import asyncpg
import uvloop

from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from router.repository.migrate import migrate
from tests.servers.ports import free_port
from tests.support.scripted_smtp import ScriptedSmtp

CONNECTIONS = 16
TEXT = "The quick brown fox jumps over the lazy dog.\n" * 180  # 8 KB

PROFILES = """
[incoming.bench]
transport = "smtp"
listen = "127.0.0.1:{listener}"
owners = ["ann@bench.test"]
rule = "all"

[outgoing.bench]
transport = "smtp"
host = "127.0.0.1"
port = {relay}
security = "none"
senders = ["*@bench.test"]
connections = {connections}
"""


@asynccontextmanager
async def router(folder: Path, listener: int, relay: int) -> AsyncIterator[None]:
    """The router, until it listens; stopped in the end."""
    profiles = PROFILES.format(listener=listener, relay=relay, connections=CONNECTIONS)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "bench.toml").write_text(profiles, encoding="utf-8")
    variables = {"PROFILES": str(folder / "profiles"), "DATA": str(folder / "data"), "LOG_LEVEL": "warning"}
    environment = os.environ | {f"EMAIL_ROUTER_{name}": value for name, value in variables.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "router", "run", env=environment)
    try:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", listener)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def letters(count: int) -> Iterator[bytes]:
    """Messages as a mail server hands them over, each with a Message-ID of its own."""
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "karl@kunde.test", "ann@bench.test", "A letter"
    letter["Date"], letter["Message-ID"] = "Sat, 21 Nov 2026 01:02:03 +0000", "<NUMBER@kunde.test>"
    letter.set_content(TEXT)
    content = letter.as_bytes()
    yield from (content.replace(b"NUMBER", str(number).encode()) for number in range(count))


async def deliver(port: int, count: int) -> float:
    """Hand in so many messages over all connections; seconds until the last was answered."""
    waiting = letters(count)

    async def client() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as smtp:
            for letter in waiting:
                await smtp.sendmail("karl@kunde.test", ["ann@bench.test"], letter)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return time.perf_counter() - began


async def send(crm: "asyncpg.Connection[asyncpg.Record]", count: int) -> float:
    """Queue so many emails at once; seconds until the last is sent."""
    await crm.execute(
        f"""
        INSERT INTO crm.email (direction, status, subject, text_body)
            SELECT 'out', 'draft', 'Number ' || n, $letter${TEXT}$letter$ FROM generate_series(1, {count}) AS n;
        INSERT INTO crm.party (email_id, role, position, address)
            SELECT id, role, 0, address FROM crm.email, (VALUES ('from', 'ann@bench.test'), ('to', 'karl@kunde.test'))
                AS party (role, address) WHERE status = 'draft';
        """
    )
    began = time.perf_counter()
    await crm.execute("UPDATE crm.email SET status = 'pending_send' WHERE status = 'draft'")
    while await crm.fetchval("SELECT EXISTS (SELECT FROM router.outbox)"):
        await asyncio.sleep(0.02)
    return time.perf_counter() - began


async def measure(folder: Path, count: int) -> None:
    """Print messages a second, in and out."""
    listener = free_port()
    async with EmbeddedServer(folder / "data", accepts_sessions=accepts_sessions) as server, ScriptedSmtp() as relay:
        await migrate(server.dsn)
        crm = await asyncpg.connect(server.dsn)
        await crm.execute(
            """
            INSERT INTO crm.record (id, kind) VALUES (md5('ann')::uuid, 'user');
            INSERT INTO crm.owner (record_id, mailbox, approved) VALUES (md5('ann')::uuid, 'ann@bench.test', true);
            """
        )
        async with router(folder, listener, relay.port):
            seconds = await deliver(listener, count)
            stored = await crm.fetchval("SELECT count(*) FROM crm.email WHERE direction = 'in'")
            report("in, SMTP listener to crm.email", stored, seconds)
            seconds = await send(crm, count)
            report("out, pending_send to relay", len(relay.messages), seconds)
        await crm.close()


def report(what: str, count: int, seconds: float) -> None:
    sys.stdout.write(f"{what:32} {count} messages in {seconds:.2f} s, {count / seconds:.0f}/s\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    count = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="er-") as folder:
        Path(folder).chmod(0o755)  # as root, the database is another user
        uvloop.run(measure(Path(folder), count))


main()
