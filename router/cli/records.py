"""Records of the CRM."""

from typing import Annotated
from uuid import UUID

import typer

from router.cli.base import Json, group, id_of

records = group("records", "Records of the CRM, and the rules by which mail makes some.")


@records.command("merge")
def records_merge(
    from_id: Annotated[
        UUID, typer.Argument(metavar="FROM", parser=id_of, help="The id of the record that goes.", show_default=False)
    ],
    into_id: Annotated[
        UUID, typer.Argument(metavar="INTO", parser=id_of, help="The id of the record that stays.", show_default=False)
    ],
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who wants it so; by default who runs the command.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: Json = False,
) -> None:
    """Merge a record into another, with all its mail.

    It says first what it moves, and asks. New mail is the other's at once; what there is, is moved in small pieces. Who
    was stopped goes on with the same command, or a router does. The merged record stays, not active any more.
    """
    from router.commands import records as commands

    commands.merge(from_id, into_id, by, yes=yes, as_json=as_json)


@records.command("rules")
def records_rules(
    owner: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Only what is in force for this owner's mail.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the rules for records from mail, in their order.

    The first that fits decides: those of the database come before those of the profile that brings the mail. Each is
    told with where it is kept, and those of the database with who changed them last. What is wrong with one is told,
    too; it is passed over.
    """
    from router.commands import creation_rules as commands

    commands.show(owner, as_json=as_json)
