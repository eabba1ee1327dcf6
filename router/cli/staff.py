"""Who may use the API."""

from typing import Annotated

import typer

from router.cli.base import Json, group

staff = group("staff", "Who may use the API: tokens of programs.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.", show_default=False)]


@staff.command("token")
def staff_token(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who does what is done with it, such as crm.", show_default=False)
    ],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="SCOPE",
            help="What it allows; may be repeated: emails:read, emails:send, events:read, unresolved:read, "
            "unresolved:decide.",
            show_default=False,
        ),
    ],
    days: Annotated[int, typer.Option(metavar="DAYS", min=1, max=3660, help="For how long it is valid.")] = 365,
) -> None:
    """Make a token of the API, and print it alone.

    It is shown this once: the database keeps its hash. There is one valid token of a name.
    """
    from router.commands import staff as commands

    commands.token(name, scope, days)


@staff.command("list")
def staff_list(as_json: Json = False) -> None:
    """List tokens: what each allows, until when, and its last use."""
    from router.commands import staff as commands

    commands.show_all(as_json=as_json)


@staff.command("end")
def staff_end(name: Name) -> None:
    """End a token: it allows nothing any more, from the next request on."""
    from router.commands import staff as commands

    commands.end(name)
