"""The composition root: from settings to the database, the workers and the console, and to a router at work."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

import structlog
from starlette.types import ASGIApp

from router.errors import DatabaseError
from router.health import Health
from router.html.frame import framed
from router.incoming.budget import Budget
from router.incoming.rounds import Rounds
from router.oauth2.late import LateTokens
from router.operations.backing import Backing, Vault
from router.operations.ready import Readiness
from router.patience import once_there, unless_stopped
from router.postgres.disk import watch_disk
from router.postgres.dsn import writable
from router.postgres.embedded import EmbeddedServer
from router.profile import Profiles
from router.profile.store import ProfileStore
from router.profile.tokens import uses_tokens
from router.read import read
from router.repository.answers.answers import Limits
from router.repository.connect import accepts_sessions
from router.repository.database import Database
from router.repository.migrate import migrate
from router.repository.retention import Retention
from router.repository.schema import check_schema
from router.serve import serve
from router.settings import Settings
from router.supervise import Job, Supervisor
from router.unwrap import unwrap
from router.web.forwarded import Proxies
from router.web.late import Late
from router.web.server import Console, not_noted
from router.workers.pool import Workers

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def dsn_of(settings: Settings, *, create: bool = False) -> AsyncIterator[str]:
    """The database that the environment names, or else the embedded one, for as long as it is needed.

    With `create` a new embedded one is made where there is none; otherwise that is an EmbeddedError.
    """
    if settings.database_url is not None:
        yield writable(settings.database_url.get_secret_value())
        return
    async with EmbeddedServer(
        settings.data,
        settings.postgres,
        accepts_sessions=accepts_sessions,
        listen=settings.postgres_listen,
        create=create,
    ) as server:
        yield server.dsn


def _opened(dsn: str, settings: Settings) -> Database:
    return Database(dsn, patience=settings.lease, keep_bytes=settings.keep_bytes)


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[Database]:
    """The database as it is; MigrationError, with what is to be done, where its schema is not this program's."""
    async with dsn_of(settings) as dsn, _opened(dsn, settings) as database:
        await check_schema(database)
        yield database


@asynccontextmanager
async def migrated_database_of(settings: Settings) -> AsyncIterator[Database]:
    """The database, made where there is none, with its schema brought up to date."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(dsn_of(settings, create=True))
        await once_there(partial(migrate, dsn))
        yield await once_there(lambda: stack.enter_async_context(_opened(dsn, settings)))


@asynccontextmanager
async def console_of(settings: Settings, readiness: Readiness, backing: Backing) -> AsyncIterator[None]:
    """Serve the console meanwhile, and the API at it, unless it is off; whatever happens to it, mail goes on."""
    jobs: Supervisor[str] = Supervisor()
    if settings.console_address is not None:
        console = Console(
            settings.console_address,
            readiness.reasons,
            Late(partial(_api, backing)),
            Late(partial(_pages, backing)),
            Proxies(settings.proxy_networks, settings.remote_user),
        )
        jobs.start("console", Job(console.run, console.health))
    try:
        yield
    finally:
        await jobs.close()


# FastAPI takes half a second to load, and the pages some of it, too: who does not use them pays for neither.


def _api(backing: Backing) -> ASGIApp:
    from router.web.api import make_api  # noqa: PLC0415

    return make_api(backing)


def _pages(backing: Backing) -> ASGIApp:
    from router.web.console import make_console  # noqa: PLC0415

    return make_console(backing)


@asynccontextmanager
async def backed(settings: Settings, backing: Backing, database: Database) -> AsyncIterator[None]:
    """Let the API work meanwhile, where there is one, with connections of its own; mail never waits for these."""
    jobs: Supervisor[str] = Supervisor()
    if settings.console_address is not None:
        health = Health("the API has no connection to the database now", not_noted, _log)
        jobs.start("api", Job(partial(backing.keep, database, health), health))
    try:
        yield
    finally:
        await jobs.close()


@asynccontextmanager
async def welcoming(settings: Settings, database: Database) -> AsyncIterator[None]:
    """Log a link for the first administrator meanwhile, where nobody may use the console yet."""
    jobs: Supervisor[str] = Supervisor()
    if settings.console_address is not None:
        health = Health("the first administrator cannot be given a link now", not_noted, _log)
        jobs.start("first administrator", Job(partial(_tell_first, settings, database), health, longest_pause=60))
    try:
        yield
    finally:
        await jobs.close()


async def first_link(settings: Settings, database: Database) -> str | None:
    """Make a link, which works once, for the first administrator of the console; None where somebody may use it."""
    from router.operations import people  # noqa: PLC0415

    secret = await people.first_link(database)
    return None if secret is None else f"{settings.console_link}/link/{secret}"


async def _tell_first(settings: Settings, database: Database) -> None:
    link = await first_link(settings, database)
    if link is not None:
        _log.info(
            "nobody may use the console yet: this link, which works once, makes its first administrator", link=link
        )
    await asyncio.Event().wait()  # there is nothing more to do


async def run(settings: Settings, store: ProfileStore, stop: asyncio.Event) -> None:
    """Bring mail in and send mail out until told to stop."""
    store.log_mistakes()
    readiness = Readiness()
    backing = Backing(lambda: store.profiles, settings, partial(vault_of, settings))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(console_of(settings, readiness, backing))
        # A database that recovers, or that another process migrates, may take long: we can be stopped meanwhile.
        database = await unless_stopped(stop, stack.enter_async_context(migrated_database_of(settings)))
        if database is None:
            return
        readiness.database = database
        await stack.enter_async_context(backed(settings, backing, database))
        await stack.enter_async_context(welcoming(settings, database))
        store.use_tokens(await stack.enter_async_context(LateTokens(settings, database)))
        parsers = await stack.enter_async_context(parsers_of(settings))
        backing.use_workers(parsers)
        watch = partial(watch_disk, settings.data, settings.disk_warning) if settings.database_url is None else None
        lease = timedelta(seconds=settings.lease)
        budget, retention = Budget(settings.memory << 20), retention_of(settings)
        gc.collect()
        gc.freeze()  # what is loaded stays: no collection need look at it again
        await serve(
            database,
            parsers,
            store,
            lease,
            stop,
            readiness=readiness,
            watch=watch,
            budget=budget,
            retention=retention,
            rounds=rounds_of(settings),
            limits=Limits(settings.answers_per_sender, settings.answers_per_domain),
            vault=partial(vault_of, settings),
        )


@asynccontextmanager
async def with_tokens(settings: Settings, profiles: Profiles) -> AsyncIterator[tuple[Profiles, Database | None]]:
    """The profiles with their access tokens, and the database that keeps these, if any profile has some.

    Where it cannot be opened, tokens are asked for and kept in memory.
    """
    async with AsyncExitStack() as stack:
        database = None
        if uses_tokens(profiles):
            with suppress(DatabaseError):  # whoever needs more of the database says so
                database = await stack.enter_async_context(database_of(settings))
            profiles = profiles.with_tokens(await stack.enter_async_context(LateTokens(settings, database)))
        yield profiles, database


def vault_of(settings: Settings) -> Vault:
    """What seals secrets in the database. It is loaded once somebody needs it."""
    from router.oauth2 import vault  # noqa: PLC0415

    return vault.vault_of(settings)


def rounds_of(settings: Settings) -> Rounds | None:
    """How often the settings have each mailbox audited; None: never."""
    return None if settings.audit_every is None else Rounds(settings.audit_every, settings.audit_repair)


def retention_of(settings: Settings) -> Retention:
    """For how long the settings keep what grows."""
    return Retention(
        decisions=timedelta(days=settings.keep_decisions),
        hashes=timedelta(days=settings.keep_hashes),
        events=timedelta(days=settings.keep_events),
        attempts=timedelta(days=settings.keep_attempts),
        bounces=timedelta(days=settings.keep_bounces),
        taken_back=timedelta(days=settings.keep_taken_back),
    )


def parsers_of(settings: Settings) -> Workers:
    """The processes that read messages, and make HTML of them safe for pages; none of them started yet."""
    return Workers(read, unwrap, framed, limit=settings.parse_timeout, size=settings.workers, uncounted=[framed])


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stop = asyncio.Event()

    def signaled(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signaled, number)
    return stop
