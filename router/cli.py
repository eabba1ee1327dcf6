"""The commands. Exit status: 0, 1 (it did not work), 2 (usage)."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer
import uvloop
from rich.console import Console

from router import app as application
from router import profile
from router.errors import RouterError
from router.repository.migrate import migrate as migrate_schema
from router.settings import Settings

app = typer.Typer(
    name="email-router",
    help="Brings mail into a CRM in PostgreSQL, on the right record, exactly once, and sends the CRM's own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_out = Console(highlight=False, soft_wrap=True)

Result = TypeVar("Result")


def _work(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's work; what an admin can put right is said in words, and ends with status 1."""
    try:
        return uvloop.run(work)
    except RouterError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(str(error), style="red")
        sys.exit(1)


@app.command()
def run() -> None:
    """Bring mail in and send mail out, until SIGTERM or Ctrl-C."""

    async def work() -> None:
        settings = Settings.read()
        await application.run(settings, profile.load(settings.profiles))

    _work(work())


@app.command()
def migrate() -> None:
    """Bring the schema of the database up to date; `run` does so too."""

    async def work() -> None:
        async with application.dsn_of(Settings.read()) as dsn:
            applied = await migrate_schema(dsn)
        for name in applied:
            _out.print(f"applied {name}")
        if not applied:
            _out.print("the schema is up to date")

    _work(work())
