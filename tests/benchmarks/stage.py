"""Where a benchmark takes place: Dovecot, PostgreSQL and routers, all of its own, on this machine."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import asyncpg

from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from tests.benchmarks.cpu import Cpu
from tests.servers.dovecot import HOST, PASSWORD, Dovecot
from tests.servers.tls import Tls, make_tls

PROFILE = """
[incoming.bench]
transport = "imap"
host = "{host}"
port = {port}
ca_file = "{ca_file}"
auth = {{ user = "{{mailbox}}", password = {{ env = "BENCHMARK_PASSWORD" }} }}
owners = ["*@in.test"]
rule = "all"
start = "{start}"
after = "{after}"
max_connections = 1000
"""


HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stage:
    """The servers of one benchmark; each `database` is a new one, each `router` a new process."""

    dovecot: Dovecot
    tls: Tls
    server: EmbeddedServer
    folder: Path
    numbers: "count[int]"

    @asynccontextmanager
    async def empty_database(self) -> AsyncIterator[str]:
        """Make a database without any table; give its DSN. All that was written before is on disk then."""
        name = f"bench_{next(self.numbers)}"
        admin = await asyncpg.connect(self.server.superuser_dsn("postgres"))
        await admin.execute("CHECKPOINT")
        await admin.execute(f"CREATE DATABASE {name} OWNER email_router")
        yield self.server.dsn.replace("/email_router?", f"/{name}?")
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()

    def superuser_dsn(self, dsn: str) -> str:
        """Where the superuser logs in to the same database."""
        return self.server.superuser_dsn(dsn.partition("///")[2].partition("?")[0])

    @asynccontextmanager
    async def database(self, mailboxes: Sequence[str] = (), tree: Path = HERE) -> AsyncIterator[str]:
        """Make a database with an owner for each mailbox, under the rule "all"; give its DSN.

        `tree` is the working copy whose router is to use it.
        """
        async with self.empty_database() as dsn:
            async with program(tree, ["migrate"], DATABASE_URL=dsn, LOG_LEVEL="error") as process:
                if await process.wait():
                    raise AssertionError(f"the router of {tree} cannot make its tables")
            await add_owners(dsn, mailboxes)
            yield dsn

    @asynccontextmanager
    async def router(
        self, dsn: str, start: str = "now", after: str = "keep", tree: Path = HERE, **more: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run one router on this database that reads Dovecot's mailboxes; stopped in the end."""
        profile = PROFILE.format(host=HOST, port=self.dovecot.imaps, ca_file=self.tls.ca_file, start=start, after=after)
        async with self.process(dsn, profile, tree, **more) as process:
            yield process

    @asynccontextmanager
    async def process(
        self, dsn: str, profile: str, tree: Path = HERE, **more: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run one router on this database with this profile; stopped in the end."""
        folder = self.folder / f"router-{next(self.numbers)}"
        (folder / "profiles").mkdir(parents=True)
        (folder / "profiles" / "bench.toml").write_text(profile, encoding="utf-8")
        variables = {"DATABASE_URL": dsn, "PROFILES": str(folder / "profiles"), "LOG_LEVEL": "error"}
        async with program(tree, ["run"], **(variables | more)) as process:
            yield process

    def cpu(self, *routers: asyncio.subprocess.Process) -> Cpu:
        """What these routers, PostgreSQL and the mail server have used so far."""
        if self.server.pid is None:
            raise AssertionError("PostgreSQL is not running")
        return Cpu.now([process.pid for process in routers], self.server.pid, self.dovecot.pid)


@asynccontextmanager
async def program(tree: Path, arguments: Sequence[str], **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command of the working copy `tree`, by its own `.venv` if it has one, else by our interpreter.

    BENCHMARK_UNDER in the environment is a command to run it under, such as that of a profiler.
    """
    its = tree / ".venv" / "bin" / "python"
    python = str(its) if its.exists() else sys.executable
    environment = os.environ | {f"EMAIL_ROUTER_{name}": value for name, value in variables.items()}
    command = [*os.environ.get("BENCHMARK_UNDER", "").split(), python, "-m", "router", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment | {"BENCHMARK_PASSWORD": PASSWORD}, cwd=tree, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def add_owners(dsn: str, mailboxes: Sequence[str]) -> None:
    """Make an approved owner, under the rule "all", of each mailbox."""
    sql = await asyncpg.connect(dsn)
    await sql.execute(
        """
        WITH r AS (
            INSERT INTO crm.record (id, kind, name)
            SELECT gen_random_uuid(), 'user', mailbox FROM unnest($1::text[]) AS m (mailbox) RETURNING id, name
        )
        INSERT INTO crm.owner (record_id, mailbox) SELECT id, name FROM r
        """,
        list(mailboxes),
    )
    await sql.execute("UPDATE crm.owner SET approved = true, tracking_rule = 'all'")
    await sql.close()


@asynccontextmanager
async def staged(name: str, *, mail_fsync: bool = False) -> AsyncIterator[Stage]:
    """Start the servers, and stop them in the end. `mail_fsync`: Dovecot answers once its mail is on disk."""
    with tempfile.TemporaryDirectory(prefix=f"er-{name[:8]}-") as made:
        folder = Path(made)
        await asyncio.to_thread(folder.chmod, 0o755)  # as root, the database is another user
        tls = make_tls(folder)
        dovecot = await asyncio.to_thread(Dovecot, tls, fsync=mail_fsync)
        try:
            async with EmbeddedServer(
                folder / "data", settings={"max_connections": "200"}, accepts_sessions=accepts_sessions
            ) as server:
                yield Stage(dovecot, tls, server, folder, count(1))
        finally:
            await asyncio.to_thread(dovecot.close)
