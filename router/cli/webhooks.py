"""Subscribers who are told of events by HTTP."""

from typing import Annotated

import typer

from router.cli.base import Json, group

webhooks = group("webhooks", "Webhooks: subscribers who are told by HTTP what happens.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name.", show_default=False)]


@webhooks.command("add")
def webhooks_add(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Where requests go: https://…, or http://localhost:… on this machine.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        list[str],
        typer.Option(
            metavar="KIND", help="Kind of events, such as sent; may be repeated. Without it: all.", show_default=False
        ),
    ] = [],  # noqa: B006
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name; by default the host of the URL.", show_default=False)
    ] = None,
) -> None:
    """Add a webhook for what happens from now on, and print its secret.

    The secret is shown this once; requests are signed with it (Standard Webhooks).
    """
    from router.commands import webhooks as commands

    commands.add(url, kind, name)


@webhooks.command("list")
def webhooks_list(as_json: Json = False) -> None:
    """List webhooks.

    What each is told, how far it is, and what is wrong.
    """
    from router.commands import webhooks as commands

    commands.show(as_json=as_json)


@webhooks.command("pause")
def webhooks_pause(name: Name) -> None:
    """Pause a webhook: what happens waits while events are kept."""
    from router.commands import webhooks as commands

    commands.pause(name)


@webhooks.command("resume")
def webhooks_resume(name: Name) -> None:
    """Go on with a webhook, also one that the router paused."""
    from router.commands import webhooks as commands

    commands.resume(name)


@webhooks.command("replay")
def webhooks_replay(
    name: Name,
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="CURSOR",
            help="What came after this event, as a request has its cursor; beginning: all that is kept; now: nothing "
            "that was before.",
            show_default=False,
        ),
    ],
) -> None:
    """Tell a webhook again what came after an event, or pass it over."""
    from router.commands import webhooks as commands

    commands.replay(name, from_)


@webhooks.command("remove")
def webhooks_remove(name: Name) -> None:
    """Remove a webhook, and its secret."""
    from router.commands import webhooks as commands

    commands.remove(name)
