"""The program as a whole, and the options that many commands have."""

from typing import Annotated
from uuid import UUID

import typer

from router import __version__

app = typer.Typer(
    name="email-router",
    help="Brings mail into a CRM in PostgreSQL, on the right record, exactly once, and sends the CRM's own.",
    epilog="Mail servers are described in profiles, TOML files in EMAIL_ROUTER_PROFILES: begin with "
    '"email-router profile example imap". Without EMAIL_ROUTER_DATABASE_URL a PostgreSQL of its own runs in '
    "EMAIL_ROUTER_DATA. Exit status: 0, 1 (it did not work), 2 (usage).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def group(name: str, text: str) -> typer.Typer:
    """Make a group of commands: `email-router NAME COMMAND`."""
    made = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made


def id_of(text: str) -> UUID:
    """Read an id of the CRM's; raises typer.BadParameter."""
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no id: write it as the CRM has it, such as 0f8fad5b-d9cb-469f-a165-70867728950e"
        ) from None


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="As many at most.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"email-router {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
