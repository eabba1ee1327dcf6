"""`run`, `demo` and `migrate`."""

import asyncio
from contextlib import suppress
from pathlib import Path

import structlog

from router import app, profile
from router import demo as play
from router.commands.terminal import carry_out, say, say_json
from router.repository.migrate import migrate as bring_up_to_date
from router.settings import Settings

_log = structlog.get_logger(__name__)


def run(*, wait: bool = False) -> None:
    """Bring mail in and send mail out, until told to stop."""

    async def work(settings: Settings) -> None:
        if wait and not await _first_profile(settings.profiles):
            return
        await app.run(settings, profile.load(settings.profiles))

    carry_out(work, serves=True)


def demo() -> None:
    """Play the demo, until told to stop."""
    carry_out(play.run)


def migrate(*, as_json: bool) -> None:
    """Bring the schema up to date and say what was applied."""

    async def work(settings: Settings) -> list[str]:
        async with app.dsn_of(settings) as dsn:
            return await bring_up_to_date(dsn)

    applied = carry_out(work)
    if as_json:
        say_json({"applied": applied})
        return
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("the schema is up to date")


async def _first_profile(folder: Path) -> bool:
    """Wait for a profile; False if we are told to stop before there is one."""
    stop = app.stop_on_signals()
    if _has_none(folder):
        advice = '"email-router profile example KIND" prints one'
        _log.warning("waiting for a profile", folder=str(folder), advice=advice)
    while _has_none(folder) and not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await stop.wait()
    return not stop.is_set()


def _has_none(folder: Path) -> bool:
    try:
        return not any(file.suffix == ".toml" for file in folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False  # reading the profiles will tell
