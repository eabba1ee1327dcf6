"""Senders who are no record, and who says who they are."""

from typing import Annotated
from uuid import UUID

import typer

from router.cli.base import Json, Limit, group, id_of

unresolved = group("unresolved", "Senders whom nobody knows: who waits, and who they are.")

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The sender's address.", show_default=False)]
Subject = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS|@DOMAIN", help="The sender's address, or all addresses of a domain.", show_default=False
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who rules so; by default who runs the command.", show_default=False),
]
Replaces = Annotated[
    int | None,
    typer.Option(metavar="RULING", help="The ruling in force that this one replaces.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]


@unresolved.command("list")
def unresolved_list(
    owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only this owner's mail.", show_default=False)
    ] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="DOMAIN", help="Only senders of this domain.", show_default=False)
    ] = None,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List unresolved senders, and their domains.

    With how many of their emails wait, and since when; those with most emails first.
    """
    from router.commands import unresolved as commands

    commands.show_all(owner, domain, limit, as_json=as_json)


@unresolved.command("show")
def unresolved_show(address: Address, as_json: Json = False) -> None:
    """Show why a sender's mail waits, and who it may be.

    With the records that it may be, and why, and the latest of its mail.
    """
    from router.commands import unresolved as commands

    commands.show(address, as_json=as_json)


@unresolved.command("resolve")
def unresolved_resolve(
    subject: Subject,
    record: Annotated[
        UUID, typer.Option(metavar="ID", parser=id_of, help="The record's id in the CRM.", show_default=False)
    ],
    by: By = None,
    replaces: Replaces = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Say which record a sender is, for all its mail.

    For what waits and for what comes. It says first how many it touches, and what is in force so far, and asks.
    """
    from router.commands import unresolved as commands

    commands.resolve(subject, record, by, replaces, yes=yes, as_json=as_json)


@unresolved.command("ignore")
def unresolved_ignore(
    subject: Subject, by: By = None, replaces: Replaces = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Say that nobody has to name a sender.

    Its mail leaves the queue, now and later, and is promoted as before.
    """
    from router.commands import unresolved as commands

    commands.ignore(subject, by, replaces, yes=yes, as_json=as_json)


@unresolved.command("never-track")
def unresolved_never_track(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|DOMAIN", help="The sender's address, or all addresses of a domain.", show_default=False
        ),
    ],
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Only in this owner's mailbox; it stays in the queue.", show_default=False
        ),
    ] = None,
    by: By = None,
    replaces: Replaces = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Ignore a sender from now on, and take it off the queue.

    As never-track add and ignore together. It says first how many emails wait, and asks; what the CRM has stays there.
    "unresolved undo" undoes both.
    """
    from router.commands import unresolved as commands

    commands.never_track(pattern, owner, by, replaces, yes=yes, as_json=as_json)


@unresolved.command("undo")
def unresolved_undo(
    ruling: Annotated[
        int | None,
        typer.Argument(metavar="RULING", help="Its number; by default your last one.", show_default=False),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Undo a ruling, so that all is as it was before.

    What somebody changed since stays. The ruling that it replaced is in force again. A record, or an entry of the
    never-track list, that was made together with the ruling goes, unless it has been used since: then it says so.
    """
    from router.commands import unresolved as commands

    commands.undo(ruling, by, as_json=as_json)


@unresolved.command("rulings")
def unresolved_rulings(
    everything: Annotated[bool, typer.Option("--all", help="Those, too, that were undone or replaced.")] = False,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List who was said to be whom, the latest first."""
    from router.commands import unresolved as commands

    commands.rulings(limit, everything=everything, as_json=as_json)
