"""`sql`: psql on the router's database."""

import asyncio
import os
import signal
from collections.abc import Sequence

import typer

from router import app
from router.commands.terminal import carry_out
from router.postgres.dsn import without_password
from router.postgres.psql import find_psql
from router.settings import Settings


def open_psql(arguments: Sequence[str]) -> None:
    """Run psql with these arguments; ends with status 1 where psql did not succeed."""

    async def work(settings: Settings) -> int:
        psql = await asyncio.to_thread(find_psql, settings.postgres)
        async with app.dsn_of(settings) as dsn:
            url, secret = without_password(dsn)
            process = await asyncio.create_subprocess_exec(
                psql, f"--dbname={url}", *arguments, env={**_environment(), **secret}
            )
            loop = asyncio.get_running_loop()
            # Ctrl-C is for psql, which cancels the query and lives on; the terminal sends it to both of us.
            loop.add_signal_handler(signal.SIGINT, lambda: None)
            loop.add_signal_handler(signal.SIGTERM, process.terminate)
            return await process.wait()

    if carry_out(work) != 0:
        raise typer.Exit(1)


def _environment() -> dict[str, str]:
    """Return ours without the URL, in which the password stands."""
    return {name: value for name, value in os.environ.items() if name.upper() != "EMAIL_ROUTER_DATABASE_URL"}
