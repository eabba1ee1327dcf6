"""The outbox."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from router.cli.base import Json, Limit, group

outbox = group("outbox", "Outgoing email that waits, failed or is unknown.")


class State(StrEnum):
    """Which emails are meant."""

    PENDING = "pending"
    SENDING = "sending"
    UNKNOWN = "unknown"
    FAILED = "failed"
    GIVEN_UP = "given_up"


class As(StrEnum):
    """What a person says of an unknown email."""

    SENT = "sent"
    FAILED = "failed"
    RESEND = "resend"


Emails = Annotated[
    list[str] | None, typer.Argument(metavar="EMAIL", help="Their ids, or Message-IDs.", show_default=False)
]
OfState = Annotated[
    State | None,
    typer.Option("--state", help="Only of this state; given_up are failed ones tried too long.", show_default=False),
]
OfOwner = Annotated[
    str | None, typer.Option("--owner", metavar="ADDRESS", help="Only this owner's email.", show_default=False)
]
OfProfile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Only what this outgoing profile carries.", show_default=False),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help="Only what failed, became unknown or, if pending, was made since this time, in UTC.",
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="All there are, or all of --state, --owner, --profile and --since.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]
By = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who rules so; by default who runs the command.", show_default=False)
]


@outbox.command("list")
def outbox_list(
    state: OfState = None,
    owner: OfOwner = None,
    of_profile: OfProfile = None,
    since: Since = None,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List email that is not sent, and why it waits.

    What is unknown comes first, then what failed, is being sent, and is pending.
    """
    from router.commands import outbox as commands

    commands.show_all(state.value if state else None, owner, of_profile, since, limit, as_json=as_json)


@outbox.command("show")
def outbox_show(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Its id, or Message-ID.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show the recipients and the attempts of an email.

    With what the relay said of them, and not what the email says.
    """
    from router.commands import outbox as commands

    commands.show(email, as_json=as_json)


@outbox.command("retry")
def outbox_retry(
    emails: Emails = None,
    everything: All = False,
    state: OfState = None,
    owner: OfOwner = None,
    of_profile: OfProfile = None,
    since: Since = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Try failed or deferred email now.

    Only for recipients whom no relay took it for yet. --all takes what failed, or what --state says.
    """
    from router.commands import outbox as commands

    asked = commands.Asked(emails or (), everything, state.value if state else None, owner, of_profile, since)
    commands.retry(asked, yes=yes, as_json=as_json)


@outbox.command("cancel")
def outbox_cancel(
    emails: Emails = None,
    everything: All = False,
    state: OfState = None,
    owner: OfOwner = None,
    of_profile: OfProfile = None,
    since: Since = None,
    by: By = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Cancel pending or failed email.

    --all takes what is pending, or what --state says. What a relay has cannot be taken back.
    """
    from router.commands import outbox as commands

    asked = commands.Asked(emails or (), everything, state.value if state else None, owner, of_profile, since)
    commands.cancel(asked, by, yes=yes, as_json=as_json)


@outbox.command("release")
def outbox_release(
    as_: Annotated[As, typer.Option("--as", help="What it was, or that it is sent again.", show_default=False)],
    emails: Emails = None,
    everything: All = False,
    owner: OfOwner = None,
    of_profile: OfProfile = None,
    since: Since = None,
    force: Annotated[bool, typer.Option("--force", help="Send again what lies in a Sent folder, too.")] = False,
    by: By = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Say what became of unknown email.

    It was sent, or was not, or is to be sent again.

    Before it is sent again, its owner's Sent folder is asked for it, where a profile reads that mailbox.
    """
    from router.commands import outbox as commands

    asked = commands.Asked(emails or (), everything, None, owner, of_profile, since)
    commands.release(asked, as_.value, by, force=force, yes=yes, as_json=as_json)
