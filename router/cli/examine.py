"""What runs, what is wrong, and what is missing."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from router.cli.base import Json, app


@app.command()
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Folder of the profiles; EMAIL_ROUTER_PROFILES by default.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the profiles and tell every mistake in them.

    No mail server is connected to. Each mistake is one line, FILE:LINE: what is wrong. Without mistakes it tells what
    each profile does and, where there is a database, which approved owners have email that no outgoing profile carries;
    that is no mistake of the profiles', and the exit status stays 0.
    """
    from router.commands import profiles

    profiles.check(folder, as_json=as_json)


@app.command("test")
def try_profiles(
    name: Annotated[
        str | None, typer.Argument(metavar="PROFILE", help="Only the profile of this name.", show_default=False)
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Only this owner's mailbox, approved or not, in the CRM or not; can be repeated.",
            show_default=False,
        ),
    ] = None,
    send_to: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Send a message to this address, through each relay tried.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Connect to every profile for real and say what works.

    For each approved owner's mailbox: name, connection, TLS and certificate, login, capabilities, folders and what is
    in them. Relays up to the login, and whether they take each owner as a sender; listeners, whether they can listen.
    Nothing is changed anywhere, and nothing is sent without --send-to.
    """
    from router.commands import test as trial

    trial.test(name, owner or (), send_to, as_json=as_json)


@app.command()
def status(
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only the sources and relays of this profile.", show_default=False),
    ] = None,
    mailbox: Annotated[
        str | None,
        typer.Option("--mailbox", "--owner", metavar="ADDRESS", help="Only this owner's mailbox.", show_default=False),
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Print only what is at fault, each in a line.")] = False,
    as_json: Json = False,
) -> None:
    """Show what runs, what is wrong, and what became of the mail.

    Whether sending is on, the processes and the profiles they serve, what waits in the outbox, failed or is unknown,
    the owners that are not approved, and each source with its fault, what became of its copies, and its last audit.

    Exit status 1 if something keeps mail from coming in or going out: no process runs, a profile, source or relay is at
    fault, an approved owner is served by no profile, or messages are missing. That sending was stopped, or that email
    waits for a person, is no fault.
    """
    from router.commands import status as shown

    shown.show(profile, mailbox, only_faults=faults, as_json=as_json)


@app.command()
def audit(
    name: Annotated[
        str | None, typer.Argument(metavar="PROFILE", help="Only what this profile reads.", show_default=False)
    ] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only this owner's mailbox.", show_default=False)
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Bring in what is missing.")] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Print what each folder holds, and those that are not read.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing where nothing is wrong, as for cron.")] = False,
    as_json: Json = False,
) -> None:
    """Account for every message that the mail servers hold.

    Each message has a disposition, came before reading began, is still to be read, or is missing. Missing messages are
    told by place, time and Message-ID. Nothing is changed on the servers, and a running router goes on meanwhile. What
    is stopped in between goes on where it was, within six hours.

    Exit status 1 if a message is missing, a mailbox or folder could not be asked, a profile is broken, an approved
    owner is served by none, or there is no mailbox to audit.
    """
    from router.commands import audit as commands

    commands.audit(name, owner, repair=repair, details=details, quiet=quiet, as_json=as_json)


@app.command()
def backfill(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="What this profile reads.", show_default=False)],
    since: Annotated[
        datetime,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="From this day on (2026-01-31), in UTC.",
            show_default=False,
        ),
    ],
    owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only this owner's mailbox.", show_default=False)
    ] = None,
    rehearsed: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would become of the mail; nothing is stored.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who asks for it; by default who runs the command.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring in older mail, judged by today's rules.

    What came before the router began to read, and what a rule ignored, is decided on as new mail is. What is promoted,
    held or dead stays so, and nothing is acknowledged. A running router goes on meanwhile. What is stopped in between
    goes on where it was, if the same command is given again.

    Exit status 1 if a mailbox or folder was not brought in to its end.
    """
    from router.commands import backfill as commands

    commands.backfill(name, owner, since.date(), by, rehearsed=rehearsed, yes=yes, as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Tell all that is wrong, and what to do about it.

    Database, clocks, disk, processes, profiles and secrets, owners whom nobody serves, what is at fault and when it is
    tried next, what waits and why, and each server as test asks it. The worst comes first, each with a cure. Nothing
    is changed anywhere. Exit status 1 if something does not work; a warning is none.
    """
    from router.commands import doctor as commands

    commands.examine(as_json=as_json)
