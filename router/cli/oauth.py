"""Logins of people for profiles that take access tokens."""

from typing import Annotated

import typer

from router.cli.base import Json, group

oauth = group("oauth", "Logins by access token (OAuth2).")


@oauth.command("login")
def oauth_login(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="The profile to log in for.", show_default=False)],
    owner: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="For this owner's mailbox alone; else for all.", show_default=False),
    ] = None,
    device: Annotated[bool, typer.Option("--device", help="Log in on another device, by a code.")] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="Do not listen for the browser: copy the address it is sent to.")
    ] = False,
) -> None:
    """Log a person in, once, for a profile that takes access tokens.

    In a browser, which comes back to this machine, or whose last address is to be copied; or with --device on another
    device. What the provider gives is kept encrypted in the database and renewed by the router. A new login takes the
    place of the one before.
    """
    from router.commands import oauth as commands

    commands.login(name, owner, device=device, paste=paste)


@oauth.command("list")
def oauth_list(as_json: Json = False) -> None:
    """List the logins by access token, and which of them work.

    For whom they are, why one does not work, and what ends when.
    """
    from router.commands import oauth as commands

    commands.show(as_json=as_json)


@oauth.command("forget")
def oauth_forget(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="The profile of the login.", show_default=False)],
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="The login for this mailbox alone; else that for all.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Forget a person's login, so that the router logs in by it no more."""
    from router.commands import oauth as commands

    commands.forget(name, owner, yes=yes)
