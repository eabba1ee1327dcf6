"""What the organization and owners choose about tracking."""

from typing import Annotated

import typer

from router.cli.base import Json, group
from router.cli.owners import By

settings = group("settings", "Settings of tracking, and which of them count.")
never_track = group("never-track", "Whose mail is never tracked.")

Owner = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="This owner's, not the organization's.", show_default=False),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The setting, as list names it.", show_default=False)]
Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="An address; a domain; or *. and a domain: that one and all below it.",
        show_default=False,
    ),
]


@settings.command("list")
def settings_list(owner: Owner = None, as_json: Json = False) -> None:
    """List the settings, with the values that count.

    And where each comes from. The first that has chosen one counts: the organization where it locked the setting, the
    owner, the profile, the organization, the default. What the organization or the owner has chosen is told with who
    chose it and when.
    """
    from router.commands import settings as commands

    commands.show(owner, as_json=as_json)


@settings.command("set")
def settings_set(
    name: Name,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="What it is to be; a list with commas.", show_default=False)
    ],
    owner: Owner = None,
    lock: Annotated[
        bool, typer.Option("--lock", help="Whatever profiles and owners say; without it, a lock ends.")
    ] = False,
    by: By = None,
) -> None:
    """Choose a value, for the organization or with --owner for one owner.

    It holds for mail that is judged from now on.
    """
    from router.commands import settings as commands

    commands.choose(name, value, owner, by, lock=lock)


@settings.command("reset")
def settings_reset(name: Name, owner: Owner = None, by: By = None) -> None:
    """Let the organization, or an owner, have chosen nothing."""
    from router.commands import settings as commands

    commands.reset(name, owner, by)


@never_track.command("list")
def never_track_list(owner: Owner = None, as_json: Json = False) -> None:
    """List whose mail is never tracked.

    For whom, by whom and since when.
    """
    from router.commands import never_track as commands

    commands.show(owner, as_json=as_json)


@never_track.command("add")
def never_track_add(pattern: Pattern, owner: Owner = None, by: By = None) -> None:
    """Never track mail from an address or a domain.

    It is ignored, also as an answer, and nothing of it is stored. With --owner only in that owner's mailbox. What the
    CRM has stays.
    """
    from router.commands import never_track as commands

    commands.add(pattern, owner, by)


@never_track.command("remove")
def never_track_remove(pattern: Pattern, owner: Owner = None) -> None:
    """Take an address or a domain off a list.

    It holds for mail that is judged from now on.
    """
    from router.commands import never_track as commands

    commands.remove(pattern, owner)
