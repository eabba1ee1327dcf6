"""`sql`: psql on the router's database."""

import asyncio
import os
import re
import signal
from collections.abc import Sequence

import typer

from router import app
from router.commands.terminal import carry_out, complain
from router.postgres.dsn import without_password
from router.postgres.psql import find_psql
from router.settings import Settings

# What follows an error would go on with other rights, or on other data, than its author thought. Where a person types,
# psql only comes back to its prompt.
_STOP = "--set=ON_ERROR_STOP=1"
_NO_CONNECTION = 2  # psql's status


def open_psql(arguments: Sequence[str], role: str | None = None) -> None:
    """Run psql with these arguments, with the rights of `role` alone; ends with status 1 where psql did not succeed."""

    async def work(settings: Settings) -> int:
        psql = await asyncio.to_thread(find_psql, settings.postgres)
        async with app.dsn_of(settings) as dsn:
            url, secret = without_password(dsn)
            loop = asyncio.get_running_loop()
            # Ctrl-C is for psql, which cancels the query and lives on; the terminal sends it to both of us.
            loop.add_signal_handler(signal.SIGINT, lambda: None)
            process = await asyncio.create_subprocess_exec(
                psql, f"--dbname={url}", _STOP, *arguments, env={**_environment(role), **secret}
            )
            loop.add_signal_handler(signal.SIGTERM, process.terminate)
            return await process.wait()

    status = carry_out(work)
    if role is not None and status == _NO_CONNECTION:
        complain(f'The router\'s role has to be a member of {role}: email-router sql -c "GRANT {role} TO CURRENT_USER"')
    if status != 0:
        raise typer.Exit(1)


def _environment(role: str | None) -> dict[str, str]:
    """Return ours without the URL, in which the password stands; with the role, which RESET ROLE goes back to."""
    environment = {name: value for name, value in os.environ.items() if name.upper() != "EMAIL_ROUTER_DATABASE_URL"}
    if role is not None:
        escaped = re.sub(r"([\\\s])", r"\\\1", role)
        environment["PGOPTIONS"] = f"{environment.get('PGOPTIONS', '')} -c role={escaped}".strip()
    return environment
