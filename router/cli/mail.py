"""What becomes of a message, and where it is."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from router.cli.base import Json, Limit, app, id_of


@app.command()
def explain(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|MESSAGE-ID",
            help="Messages as they travel (.eml), - for stdin; or the Message-ID of one that came, or did not.",
            show_default=False,
        ),
    ] = None,
    email: Annotated[
        UUID | None,
        typer.Option(
            metavar="ID", parser=id_of, help="Who decided that this email is in the CRM; no files.", show_default=False
        ),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Decide as if they arrived in this mailbox; of a Message-ID, only look there.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="RULE", help="With this rule, not the owner's.", show_default=False)
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="As mail that came to this forward mailbox.", show_default=False),
    ] = None,
    authserv: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Believe the Authentication-Results of this server, not of the profile's.",
            show_default=False,
        ),
    ] = None,
    ask: Annotated[
        bool | None,
        typer.Option(
            "--ask/--no-ask",
            help="Of a Message-ID: ask the mail servers, or do not; by default where the CRM has none.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is read of a message, what becomes of it, and why.

    With --owner, the decision and its reasons, as if the files had just arrived in that owner's mailbox, one after the
    other. With --forward, what was forwarded in them to a profile whose role is forward, and whether that is believed.
    Nothing is stored. Without --owner no database is needed.

    With --email, of an email that the CRM has: whose copy made it one, by which rule, in which mailboxes it was
    received, and how the email that it answers was found.

    With a Message-ID, what became of each copy of that message in every mailbox, by which rule, and why; where it lies;
    and if the router knows of none, what may be the reason and what to try. What an ignored one says is not told. With
    --owner, only that mailbox is looked into. Exit status 1 if the CRM does not have it.
    """
    from router.commands import explain as commands
    from router.commands import explain_message as of_message

    if email is not None and not files:
        commands.explain_email(email, as_json=as_json)
        return
    if not files or email is not None:
        words = "name files, or a Message-ID, or an email by --email"
        raise typer.BadParameter(words, param_hint="FILE...|MESSAGE-ID")
    if len(files) == 1 and not Path(files[0]).exists() and of_message.looks_like_id(files[0]):
        if rule or forward or authserv:
            raise typer.BadParameter(
                "a Message-ID goes with --owner and --ask alone: no such file", param_hint=files[0]
            )
        of_message.explain_message(files[0], owner, ask=ask, as_json=as_json)
        return
    if ask is not None:
        raise typer.BadParameter("mail servers are asked for a Message-ID, not for files", param_hint="--ask")
    commands.explain([Path(one) for one in files], owner, rule, authserv, forward, as_json=as_json)


@app.command()
def simulate(
    owner: Annotated[str, typer.Option(metavar="ADDRESS", help="Whose mailbox.", show_default=False)],
    rule: Annotated[
        str | None, typer.Option(metavar="RULE", help="The other tracking rule.", show_default=False)
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Other rules for records from mail, as TOML.", show_default=False),
    ] = None,
    of_database: Annotated[
        bool, typer.Option("--database", help="The file's rules stand in for the database's, not the profile's.")
    ] = False,
    last: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=100_000, help="As many messages at most.")] = 1000,
    details: Annotated[bool, typer.Option("--details", help="List each message that would change.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what other rules would make of an owner's mail.

    The newest messages that were decided on are fetched again, and decided on by both as if they came now. It tells how
    many would become something else, and why. Nothing is changed anywhere.

    With --rules it tells of which messages the rules of the file would make a case, a contact or a lead: its
    [[create]] tables and on_new, or those of the owner's profile in it. They stand in for the rules of that profile, or
    with --database for those of the database; all others count as they do.

    Exit status 1 if the mail server does not give them all.
    """
    from router.commands import simulate as commands

    commands.simulate(owner, rule, rules, last, of_database=of_database, details=details, as_json=as_json)


@app.command()
def original(
    email: Annotated[
        str, typer.Argument(metavar="EMAIL", help="Its id in crm.email, or its Message-ID.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there, and not to stdout.", show_default=False),
    ] = None,
) -> None:
    """Print a received email as it came: its raw bytes (.eml).

    From the bytes that are kept of held mail, or from a mailbox where it lies; what is found there counts only if it is
    that very message. Exit status 1, with the reason, if it lies nowhere any more.
    """
    from router.commands import original as commands

    commands.original(email, output)


@app.command()
def trace(
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="ADDRESS", help="Who sent it; or @example.com.", show_default=False),
    ] = None,
    recipient: Annotated[
        str | None,
        typer.Option("--to", metavar="ADDRESS", help="Who received it; or @example.com.", show_default=False),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words of its subject, in any order.", show_default=False)
    ] = None,
    message_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Its Message-ID; then of any time.", show_default=False)
    ] = None,
    email: Annotated[
        UUID | None,
        typer.Option(metavar="ID", parser=id_of, help="Its id in the CRM, as crm.email has it.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When it came, at the earliest: 2026-11-28, 2026-11-28T10:00 (in UTC, unless it says otherwise), "
            "yesterday, tuesday, 2h or 3d; 7 days ago by default.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it came, at the latest; of a date, to its end.", show_default=False),
    ] = None,
    limit: Limit = 50,
    ask: Annotated[
        bool | None,
        typer.Option(
            "--ask/--no-ask",
            help="Ask the mail servers of the mailboxes in which it would be, or do not; by default where the CRM has "
            "none and enough is known of it.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell where a message is, what became of it, and why.

    By what is known of it: sender, recipient, words of the subject, time, Message-ID; mail that came in, and email that
    the CRM wrote. If the CRM does not have it: what may be the reason, in each mailbox in which it would be; whether
    its mail server has it, and in which folder. Nothing is changed anywhere. Of ignored mail nothing is told but how
    much there was, and why.

    Exit status 1 if the CRM does not have it.
    """
    from router.commands import trace as commands

    commands.trace(sender, recipient, subject, message_id, email, since, until, limit, ask=ask, as_json=as_json)


@app.command()
def split(
    email: Annotated[
        UUID,
        typer.Argument(
            metavar="EMAIL", parser=id_of, help="Its id in the CRM, as crm.email has it.", show_default=False
        ),
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Put it back on the thread that it was on.")] = False,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who rules so; by default who runs the command.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Split an email off its thread, with all that answers it.

    As where somebody answers an old email to write of something else: such email has the flag subject-changed. It keeps
    the record that it is regarding until the CRM sets another one, which does not change what the old thread is about.
    """
    from router.commands import split as commands

    commands.split(email, by, undo=undo, as_json=as_json)
