"""Dead letters and held mail."""

from datetime import datetime
from typing import Annotated

import typer

from router.cli.base import Json, Limit, group

dead_letters = group("dead-letters", "Mail that could not be fetched, read or stored.")
held = group("held", "Mail that is held for review.")

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Its number, as list tells it.", show_default=False)]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="NUMBER", help="Numbers, as list tells them.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All there are, or all of --profile, --owner and --before.")]
OfProfile = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Only what this profile brought.", show_default=False)
]
OfOwner = Annotated[
    str | None, typer.Option("--owner", metavar="ADDRESS", help="Only this owner's mail.", show_default=False)
]
Before = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help="Only what was decided on before this time (2026-11-28, or 2026-11-28T10:00), in UTC.",
        show_default=False,
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who rules so; by default who runs the command.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]
Raw = Annotated[bool, typer.Option("--raw", help="Print the bytes as they were kept, and nothing else.")]


@dead_letters.command("list")
def dead_letters_list(
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List dead letters with their reasons, the oldest first.

    With where each came from, and until when its bytes are kept. Where they are not, it lies in its mailbox.
    """
    from router.commands import letters as commands

    commands.show_all("dead", of_profile, owner, before, limit, as_json=as_json)


@dead_letters.command("show")
def dead_letters_show(number: Number, raw: Raw = False, as_json: Json = False) -> None:
    """Show one dead letter and, where its bytes are kept, what it says."""
    from router.commands import letters as commands

    commands.show("dead", number, raw=raw, as_json=as_json)


@dead_letters.command("replay")
def dead_letters_replay(
    numbers: Numbers = None,
    everything: All = False,
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Read dead letters again, and decide on them as if they came now.

    From the bytes that were kept, or from the mailbox where they lie. With their own time of arrival, by today's rules.
    What is stopped in between can be started again: it goes on with what is left. Exit status 1 if some are dead or
    held again, or cannot be had any more.
    """
    from router.commands import letters as commands

    commands.rule("dead", "replay", numbers or (), everything, of_profile, owner, before, by, yes=True, as_json=as_json)


@dead_letters.command("drop")
def dead_letters_drop(
    numbers: Numbers = None,
    everything: All = False,
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    by: By = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Ignore dead letters for good, and delete their bytes, after asking."""
    from router.commands import letters as commands

    commands.rule("dead", "drop", numbers or (), everything, of_profile, owner, before, by, yes=yes, as_json=as_json)


@held.command("list")
def held_list(
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List held mail with its reasons, the oldest first."""
    from router.commands import letters as commands

    commands.show_all("held", of_profile, owner, before, limit, as_json=as_json)


@held.command("show")
def held_show(number: Number, raw: Raw = False, as_json: Json = False) -> None:
    """Show one held mail and, where its bytes are kept, what it says."""
    from router.commands import letters as commands

    commands.show("held", number, raw=raw, as_json=as_json)


@held.command("release")
def held_release(
    numbers: Numbers = None,
    everything: All = False,
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let held mail into the CRM, whatever held it.

    The owner's tracking rule still judges it. Of a forward mailbox, its forwarder is believed. Exit status 1 if some
    wait still, or cannot be had any more.
    """
    from router.commands import letters as commands

    commands.rule(
        "held", "release", numbers or (), everything, of_profile, owner, before, by, yes=True, as_json=as_json
    )


@held.command("drop")
def held_drop(
    numbers: Numbers = None,
    everything: All = False,
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    by: By = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Ignore held mail for good, and delete its bytes, after asking."""
    from router.commands import letters as commands

    commands.rule("held", "drop", numbers or (), everything, of_profile, owner, before, by, yes=yes, as_json=as_json)
