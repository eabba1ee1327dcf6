"""`run`, `demo` and `migrate`."""

from collections.abc import Sequence

import structlog

from router import app
from router import demo as play
from router.commands.terminal import carry_out, say, say_json
from router.errors import ProfileErrors
from router.operations import schema
from router.profile.store import ProfileStore
from router.settings import Settings

_log = structlog.get_logger(__name__)


def run(*, wait: bool = False) -> None:
    """Bring mail in and send mail out, until told to stop."""

    async def work(settings: Settings) -> None:
        stop = app.stop_on_signals()
        store = await ProfileStore.open(settings.profiles)
        if store.mistakes and (settings.strict or not (store.profiles or wait)):
            raise ProfileErrors(store.mistakes)
        if not store.profiles:
            advice = '"email-router profile example KIND" prints one'
            _log.warning("waiting for a profile", folder=str(settings.profiles), next=advice)
        await app.run(settings, store, stop)

    carry_out(work, serves=True)


def demo() -> None:
    """Play the demo, until told to stop."""
    carry_out(play.run, least="error")  # what fails there is part of the play


def migrate(*, as_json: bool) -> None:
    """Bring the schema up to date and say what was applied."""

    async def work(settings: Settings) -> Sequence[str]:
        async with app.dsn_of(settings, create=True) as dsn:
            return await schema.migrate(dsn)

    applied = carry_out(work)
    if as_json:
        say_json({"applied": applied})
        return
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("the schema is up to date")
