"""A PostgreSQL of two hosts: a primary, and a standby that takes over."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from router.errors import DatabaseAway, DatabaseError
from router.postgres import binaries as programs
from router.postgres.cluster import Cluster, barrier
from router.postgres.dsn import writable
from router.repository.connect import Server
from router.repository.database import Database
from router.repository.migrate import migrate
from tests.servers.ports import free_port

ROOT = os.geteuid() == 0


class Node:
    """One PostgreSQL of the pair; who connects to 127.0.0.1 is trusted."""

    def __init__(self, home: Path, name: str, port: int, binaries: Path, user: dict[str, Any]) -> None:
        self.data = home / name
        self.port = port
        self._binaries = binaries
        self._user = user

    def run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self._binaries / program, *map(str, arguments)], check=True, cwd="/", capture_output=True, **self._user
        )

    def start(self) -> None:
        options = f"-p {self.port} -c unix_socket_directories= -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "-l", "/dev/null", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "-m", "immediate", "stop")

    def promote(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "promote")


class Pair:
    """`url` names the standby first, as what answers first."""

    def __init__(self, primary: Node, standby: Node) -> None:
        self.primary = primary
        self.standby = standby
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        self.url = f"postgresql://postgres:hush@{hosts}/postgres"

    async def replicated(self) -> None:
        """Return once the standby has all that the primary has."""
        primary, standby = [
            await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{node.port}/postgres")
            for node in (self.primary, self.standby)
        ]
        position = await primary.fetchval("SELECT pg_current_wal_lsn()")
        async with asyncio.timeout(30):
            while not await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1", position):
                await asyncio.sleep(0.02)
        await primary.close()
        await standby.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    home.chmod(0o755)
    system_user = Cluster(home / "nobody").system_user()
    user = {"user": system_user.uid, "group": system_user.gid, "extra_groups": []} if ROOT else {}
    if ROOT:
        os.chown(home, system_user.uid, system_user.gid)
    found = programs.find()
    if (blocked := barrier(found.folder, system_user)) is not None:
        found = programs.copied(found, home, blocked=blocked)
    primary = Node(home, "primary", free_port(), found.folder, user)
    standby = Node(home, "standby", free_port(), found.folder, user)
    primary.run("initdb", "-D", primary.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
    try:
        primary.start()
        from_primary = f"host=127.0.0.1 port={primary.port} user=postgres"
        standby.run("pg_basebackup", "-D", standby.data, "-d", from_primary, "-R", "-N", "-c", "fast")
        standby.start()
        yield Pair(primary, standby)
    finally:
        for node in (primary, standby):
            with suppress(subprocess.CalledProcessError):
                node.stop()
        shutil.rmtree(home)


async def test_of_several_hosts_the_one_that_can_be_written_to_is_used_before_and_after_a_failover(pair: Pair) -> None:
    url = writable(pair.url)
    assert (await migrate(url))[0] == "0001_crm"
    async with Database(url) as database:
        await write(database, "before")
        await pair.replicated()
        await asyncio.to_thread(pair.primary.stop)
        with pytest.raises(DatabaseAway):
            await write(database, "meanwhile")
        with pytest.raises(DatabaseAway) as caught:
            await Server(url).connect()
        assert str(caught.value) == (
            f"cannot connect to the database: 127.0.0.1:{pair.standby.port}: it can only be read, as a standby can, or "
            "is not otherwise what target_session_attrs asks for; "
            f"127.0.0.1:{pair.primary.port}: Connection refused"
        )
        await asyncio.to_thread(pair.standby.promote)
        async with asyncio.timeout(30):
            while True:
                with suppress(DatabaseAway):
                    await write(database, "after")
                    break
                await asyncio.sleep(0.05)
        async with database.connection() as connection:
            found = await connection.fetch("SELECT name FROM crm.record ORDER BY name")
        assert [row[0] for row in found] == ["after", "before"]


async def test_a_url_may_ask_for_any_host(pair: Pair) -> None:
    url = f"{pair.url}?target_session_attrs=any"
    connection = await Server(writable(url)).connect()
    assert await connection.fetchval("SELECT pg_is_in_recovery()")
    await connection.close()
    await migrate(f"postgresql://postgres@127.0.0.1:{pair.primary.port}/postgres")
    await pair.replicated()
    async with Database(url) as database:
        with pytest.raises(DatabaseAway, match=r"the database can only be read: .*SQLSTATE 25006"):
            await write(database, "nowhere")


async def test_a_primary_that_may_not_be_written_to_is_no_use_either(pair: Pair) -> None:
    connection = await Server(writable(pair.url)).connect()
    await connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    await connection.close()
    with pytest.raises(DatabaseError, match=f"127.0.0.1:{pair.primary.port}: it can only be read"):
        await Server(writable(pair.url)).connect()


async def write(database: Database, name: str) -> None:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO crm.record (kind, name) VALUES ('user', $1)", name)
