"""Help to write profiles."""

from typing import Annotated

import typer

from router.cli.base import group

profile = group("profile", "Help to write profiles.")


@profile.command("example")
def profile_example(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help="A transport, or whose mail: imap, smtp, microsoft-365 …", show_default=False
        ),
    ] = None,
) -> None:
    """Print an example profile, ready to be changed.

    Without KIND it tells which there are.
    """
    from router.commands import profiles

    profiles.example(kind)


@profile.command("schema")
def profile_schema() -> None:
    """Print the JSON schema of profiles, for editors."""
    from router.commands import profiles

    profiles.print_schema()
