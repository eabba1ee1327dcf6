"""What the demo needs around it: database, profiles, capture server; the router beside the play; an orderly stop."""

import asyncio
import fcntl
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

from router import app
from router.demo import farewell, show
from router.demo.capture import Capture
from router.demo.play import Play, text_of
from router.demo.scripts import may_fill, run_script
from router.errors import RouterError
from router.operations.backing import Backing
from router.operations.ready import Readiness
from router.profile.store import ProfileStore
from router.repository.database import Database
from router.repository.migrate import migrate
from router.serve import serve
from router.settings import PREFIX, Settings
from router.workers.pool import Workers

_PORT: Final = 2525
_ANNA: Final = UUID("de300000-0000-4000-8000-000000000001")  # of crm.sql

_PROFILES: Final = """\
# Written by `email-router demo` at each start.

[incoming.demo]
transport = "smtp"
listen    = "127.0.0.1:{port}"
owners    = ["*@velo.example"]
copy      = true                     # the samples are files: what is ignored is not lost

[outgoing.demo]
transport = "smtp"
host      = "127.0.0.1"
port      = {capture}
security  = "none"                   # it never leaves this machine
senders   = ["*@velo.example"]
"""


async def run(settings: Settings) -> None:
    """Play the demo until SIGTERM or SIGINT. It lives in the folder `demo` of the data folder."""
    stop = app.stop_on_signals()
    out = show.console()
    # A data folder that is named may be a real router's: the demo keeps to a folder of its own within it.
    home = settings.data.expanduser().absolute() / "demo"
    own = settings.model_copy(update={"data": home, "profiles": home / "profiles", "postgres_listen": None})
    if settings.database_url is None:
        out.print(f"Starting a PostgreSQL of the demo's own in {home}", soft_wrap=True)
    async with app.dsn_of(own, create=True) as dsn, _database(dsn) as database:
        sent = await asyncio.to_thread(_folder, home, "sent")
        async with Capture(sent) as capture, app.parsers_of(settings) as parsers:
            with ExitStack() as held:
                port = choose_port(held, _PORT)
                own = _with_console(own, held)
                store, readiness = await _profiles(home, port, capture.port), Readiness()
                async with _console(own, store, readiness, database, parsers):
                    lease = timedelta(seconds=settings.lease)
                    router = serve(database, parsers, store, lease, stop, readiness=readiness)
                    serving = asyncio.create_task(router, name="router")
                    play = Play(database, port, out).run(await _farewell(own, database, port, out.limit))
                    playing = asyncio.create_task(play, name="play")
                    await asyncio.wait([serving, playing], return_when=asyncio.FIRST_COMPLETED)
                    stop.set()
                    playing.cancel()
                    results = await asyncio.gather(serving, playing, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    out.print(f"Stopped. What is in {home} stays, and the next start goes on with it.", soft_wrap=True)


def _with_console(settings: Settings, held: ExitStack) -> Settings:
    """The settings with a port of the console that is free, if there is to be one."""
    address = settings.console_address
    if address is None:
        return settings
    return settings.model_copy(update={"console": str(replace(address, port=choose_port(held, address.port)))})


@asynccontextmanager
async def _console(
    settings: Settings, store: ProfileStore, readiness: Readiness, database: Database, parsers: Workers
) -> AsyncIterator[None]:
    """Serve the console and the API meanwhile, as `run` does."""
    backing = Backing(lambda: store.profiles, settings, partial(app.vault_of, settings))
    backing.use_workers(parsers)
    readiness.database = database
    async with app.console_of(settings, readiness, backing), app.backed(settings, backing, database):
        yield


@asynccontextmanager
async def _database(dsn: str) -> AsyncIterator[Database]:
    """The database, migrated, with the sample CRM in it; refused if somebody else's data is there."""
    async with Database(dsn) as database:
        if not await may_fill(database, _ANNA):
            raise RouterError(
                "the demo writes sample data, and this database holds other data: leave "
                f"{PREFIX}DATABASE_URL unset, so that the demo has a database of its own, or name an empty one"
            )
        await migrate(dsn)
        await run_script(database, await text_of("crm.sql"))
        yield database


def _folder(home: Path, name: str) -> Path:
    try:
        (home / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RouterError(
            f"{home / name} cannot be made: {error.strerror}; choose another folder with {PREFIX}DATA"
        ) from error
    return home / name


def choose_port(held: ExitStack, wanted: int) -> int:
    """Choose this port or else any that is free, which no other demo chooses before `held` is closed."""
    try:
        lock = held.enter_context((Path(tempfile.gettempdir()) / f"email-router-demo-{wanted}.lock").open("a"))
        # It is listened to only later: another demo that starts now would find the port free as well.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _free_port(wanted)
    except OSError:
        return _free_port(0)


def _free_port(wanted: int) -> int:
    with socket.create_server(("127.0.0.1", wanted)) as probe:
        found: int = probe.getsockname()[1]
        return found


async def _profiles(home: Path, port: int, capture: int) -> ProfileStore:
    folder = _folder(home, "profiles")
    await asyncio.to_thread((folder / "demo.toml").write_text, _PROFILES.format(port=port, capture=capture), "utf-8")
    return await ProfileStore.open(folder)


async def _farewell(settings: Settings, database: Database, port: int, width: int | None) -> str:
    """Tell how to go on."""
    for name in farewell.SCRIPTS:
        script = settings.data / name
        if not script.exists():  # it is there to be changed
            await asyncio.to_thread(script.write_text, await text_of(name), "utf-8")
    told = []
    if settings.console_address is not None:
        link = await app.first_link(settings, database)
        way = (
            f"{link}\n(this link works once, and makes you its first administrator)" if link else settings.console_link
        )
        told.append(f"In the console, people wait whom nobody knows. Open it in a browser:\n{way}\n")
    taken = "" if port == _PORT else f" (port {_PORT} is taken)"
    told.append(f"The router listens at 127.0.0.1:{port}{taken}, until Ctrl-C.\nWhat comes now is told here.")
    commands = farewell.listing(list(farewell.commands(settings, port)), width)
    return "\n".join(told) + f" In another terminal:\n\n{commands}\n"
