"""`original`."""

import os
import sys
from pathlib import Path

import typer

from router import app, profile
from router.commands.terminal import carry_out
from router.errors import UnknownName
from router.oauth2.late import LateTokens
from router.operations import original as operation
from router.operations.original import Original
from router.operations.words import count
from router.settings import Settings


def original(name: str, output: Path | None) -> None:
    """Write the bytes of a received email to a file that is not there yet, or to stdout."""
    if output is not None and output.exists():
        raise typer.BadParameter(f"{output} is there already", param_hint="--output")

    async def work(settings: Settings) -> Original:
        reading = profile.read_folder(settings.profiles)
        async with (
            app.database_of(settings) as database,
            app.parsers_of(settings) as parsers,
            LateTokens(settings, database) as tokens,
        ):
            try:
                return await operation.original(database, parsers, reading.profiles.with_tokens(tokens), name)
            except UnknownName as error:
                raise typer.BadParameter(str(error), param_hint="EMAIL") from None

    found = carry_out(work)
    if output is None:
        sys.stdout.buffer.write(found.content)
        sys.stdout.buffer.flush()
        return
    try:
        _write(output, found.content)
    except OSError as error:
        raise typer.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from None
    typer.echo(f"{output}: {count(len(found.content), 'byte')}, from {found.whence}", err=True)


def _write(output: Path, content: bytes) -> None:
    """Make a file that only its user may read: it is somebody's mail."""
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
