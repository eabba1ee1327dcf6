"""The composition root: settings → database → profiles → tasks → orderly stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID, uuid4

import structlog

from router.errors import DatabaseError
from router.incoming.forward import Parsers
from router.incoming.listener import ListenerIntake
from router.incoming.mailboxes import Share
from router.incoming.read import read
from router.outgoing.sender import Sender
from router.postgres.embedded import EmbeddedServer
from router.profile import Profiles, check_owners
from router.repository import sources
from router.repository.database import Database
from router.repository.migrate import migrate
from router.repository.owners import list_owners
from router.settings import Settings
from router.workers.pool import Workers
from transports import ListenerSettings

_log = structlog.get_logger(__name__)

_GRACE = 3.0  # seconds that sends under way have to end; with the database's own, the whole stop is within 8


@asynccontextmanager
async def dsn_of(settings: Settings) -> AsyncIterator[str]:
    """The database that the environment names, or else the embedded one, for as long as it is needed."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with EmbeddedServer(settings.data, settings.postgres, listen=settings.postgres_listen) as server:
        yield server.dsn


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[Database]:
    """The database, with its schema brought up to date."""
    async with dsn_of(settings) as dsn:
        await migrate(dsn)
        async with Database(dsn, patience=settings.lease) as database:
            yield database


async def run(settings: Settings, profiles: Profiles) -> None:
    """Bring mail in and send mail out until SIGTERM or SIGINT."""
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(stack.enter_async_context(database_of(settings)), name="open the database")
        told = asyncio.create_task(stop.wait())
        # A database that recovers, or that another process migrates, may take long: we can be stopped meanwhile.
        await asyncio.wait([opening, told], return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            await asyncio.wait([opening])
            return
        told.cancel()
        database = await opening
        await _tell_owners(database, profiles)
        parsers = await stack.enter_async_context(parsers_of(settings))
        await serve(database, parsers, profiles, timedelta(seconds=settings.lease), stop)


def parsers_of(settings: Settings) -> Parsers:
    """The processes that read messages, none of them started yet."""
    return Workers(read, limit=settings.parse_timeout, size=settings.workers)


async def _tell_owners(database: Database, profiles: Profiles) -> None:
    """Say whose mail is not read; it is no reason not to serve the others."""
    owners = await list_owners(database)
    for mistake in check_owners(profiles, ((one.owner.mailbox, one.approved, one.owner.rule) for one in owners)):
        _log.warning(str(mistake))
    if waiting := sum(not one.approved for one in owners):
        _log.warning("owners wait for approval, nothing of theirs is read or sent", owners=waiting)


async def serve(
    database: Database, parsers: Parsers, profiles: Profiles, lease: timedelta, stop: asyncio.Event
) -> None:
    """Do all the work of one router process until told to stop.

    A task that ends by a mistake of ours ends the process, so that whoever watches it starts it again.
    """
    process_id = uuid4()
    await sources.beat(database, process_id)
    beating = asyncio.create_task(_beat(database, process_id, lease), name="beat")
    receiving = [
        asyncio.create_task(Share(database, parsers, profiles, process_id, lease).run(), name="share of the sources"),
    ]
    receiving += [
        asyncio.create_task(
            ListenerIntake(database, parsers, profiles, profile, profile.settings).run(),
            name=f"listener {profile.name}",
        )
        for profile in profiles.incoming
        if isinstance(profile.settings, ListenerSettings)
    ]
    sending = asyncio.create_task(Sender(database, profiles, process_id, lease).run(stop, _GRACE), name="sender")
    told = asyncio.create_task(stop.wait())
    _log.info("running", incoming=len(profiles.incoming), outgoing=len(profiles.outgoing))
    try:
        await asyncio.wait([told, beating, sending, *receiving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        _log.info("stopping")
        stop.set()
        for task in (told, *receiving):
            task.cancel()
        results = await asyncio.gather(sending, *receiving, return_exceptions=True)
        # Until here others must not think us dead, and take over what is just ending.
        beating.cancel()
        results += await asyncio.gather(beating, return_exceptions=True)
        with suppress(DatabaseError):
            await sources.leave(database, process_id)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _beat(database: Database, process_id: UUID, lease: timedelta) -> None:
    """Say that this process lives, often enough that one lost word does no harm."""
    while True:
        await asyncio.sleep(lease.total_seconds() / 5)
        try:
            await sources.beat(database, process_id)
        except DatabaseError as error:
            _log.warning("the database does not hear us", reason=str(error))


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stop = asyncio.Event()

    def told(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told, number)
    return stop
