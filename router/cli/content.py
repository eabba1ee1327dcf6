"""What the CRM has of mail, taken away again."""

from typing import Annotated

import typer

from router.cli.base import Json, app

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who rules so; by default who runs the command.", show_default=False),
]


@app.command("take-back")
def take_back(
    emails: Annotated[
        list[str],
        typer.Argument(metavar="EMAIL", help="Ids in crm.email, or Message-IDs.", show_default=False),
    ],
    owner: Annotated[str, typer.Option(metavar="ADDRESS", help="Whose mail it is.", show_default=False)],
    undo: Annotated[bool, typer.Option("--undo", help="Restore what was taken back.")] = False,
    by: By = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take an owner's email back that became the CRM's by mistake.

    It leaves the CRM at once, with its attachments, unless other owners received it, too: then it stays for them. No
    later copy brings it back. --undo restores it, for EMAIL_ROUTER_KEEP_TAKEN_BACK days. What the CRM wrote cannot be
    taken back. Exit status 1 if some were not.
    """
    from router.commands import take_back as commands

    commands.take_back(emails, owner, by, undo=undo, yes=yes, as_json=as_json)


@app.command()
def erase(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose mail it is.", show_default=False)],
    forget_hashes: Annotated[
        bool, typer.Option("--forget-hashes", help="Also by what a copy of an erased email would be known.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    by: By = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Erase what is stored of a person outside, and prove it.

    Emails go whole where this address is the only one on them that is no user's, queue's or owner's; of others goes
    what it wrote, and its name and address. Then everything is searched for the address: exit status 1 if it is named
    still, but in the CRM's own records. Email that is to be sent to it has to be canceled first.
    """
    from router.commands import erase as commands

    commands.erase(address, by, forget_hashes=forget_hashes, dry_run=dry_run, yes=yes, as_json=as_json)
