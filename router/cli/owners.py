"""Whose mail is tracked, and whether any is sent."""

from typing import Annotated

import typer

from router.cli.base import Json, group

owners = group("owners", "Whose mail is tracked, and in whose name is sent.")
sending = group("sending", "Tell whether email is sent; stop it, and start it again.")

By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who does so; by default who runs the command.", show_default=False),
]
Reason = Annotated[str | None, typer.Option(help="Why, shown by status.", show_default=False)]


@owners.command("list")
def owners_list(as_json: Json = False) -> None:
    """List the owners, approved or not.

    With the tracking rule of each, and the profiles that read its mail and send for it.
    """
    from router.commands import owners as commands

    commands.show(as_json=as_json)


@owners.command("approve")
def owners_approve(
    mailboxes: Annotated[list[str], typer.Argument(metavar="MAILBOX", help="Addresses.", show_default=False)],
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the approval back.")] = False,
) -> None:
    """Approve mailboxes, so that they are read and sent for.

    The CRM names the owners and their mailboxes (crm.owner), and only an admin can approve them. Where a mailbox
    changes, it has to be approved again.
    """
    from router.commands import owners as commands

    commands.approve(mailboxes, revoke=revoke)


@owners.command("set", options_metavar="--rule RULE")
def owners_set(
    mailbox: Annotated[str, typer.Argument(metavar="MAILBOX", help="The owner's address.", show_default=False)],
    rule: Annotated[
        str,
        typer.Option(metavar="RULE", help="all | replies | known | email-enabled | none | default", show_default=False),
    ],
    by: By = None,
) -> None:
    """Set which of an owner's mail is promoted.

    all: everything. replies: what answers an email of the CRM. known: what comes from leads, contacts and accounts.
    email-enabled: what comes from any record that has addresses. none: nothing. default: what the profile says.
    """
    from router.commands import owners as commands

    commands.set_rule(mailbox, rule, by)


@sending.command("status")
def sending_status(as_json: Json = False) -> None:
    """Tell whether sending is on, and what waits.

    Since when it is off, by whom and why; whether the database is a copy; how many emails wait, by what they wait for.
    """
    from router.commands import sending as commands

    commands.show(as_json=as_json)


@sending.command("stop")
def sending_stop(reason: Reason = None, by: By = None) -> None:
    """Stop sending.

    What is pending waits; what is with a relay at this moment is finished.
    """
    from router.commands import sending as commands

    commands.switch(on=False, reason=reason, by=by)


@sending.command("start")
def sending_start(reason: Reason = None, by: By = None) -> None:
    """Start sending again.

    A copy of the database (restored from a dump, made from a template, or upgraded) neither sends nor reads mailboxes
    before this: it is the real one from then on. What is pending in it may have been sent by the other meanwhile.
    """
    from router.commands import sending as commands

    commands.switch(on=True, reason=reason, by=by)
