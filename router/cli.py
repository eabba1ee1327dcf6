"""The commands and their help. Exit status: 0, 1 (it did not work), 2 (usage).

What a command needs is imported when it is run (router/commands/), so that help is there at once.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from router import __version__

app = typer.Typer(
    name="email-router",
    help="Brings mail into a CRM in PostgreSQL, on the right record, exactly once, and sends the CRM's own.",
    epilog="Mail servers are described in profiles, TOML files in EMAIL_ROUTER_PROFILES: begin with "
    '"email-router profile example imap". Without EMAIL_ROUTER_DATABASE_URL a PostgreSQL of its own runs in '
    "EMAIL_ROUTER_DATA. Exit status: 0, 1 (it did not work), 2 (usage).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


owners = _group("owners", "Whose mail is tracked, and in whose name is sent.")
sending = _group("sending", "Stop and start sending, for all processes at once.")
dead_letters = _group("dead-letters", "Mail that could not be fetched, read or stored.")
held = _group("held", "Mail that is held for review.")
profile = _group("profile", "Help to write profiles.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Reason = Annotated[str | None, typer.Option(help="Why, shown by status.", show_default=False)]

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Its number, as list tells it.", show_default=False)]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="NUMBER...", help="Numbers, as list tells them.", show_default=False)
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
Limit = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="As many at most.")]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who rules so; by default who runs the command.", show_default=False),
]
Raw = Annotated[bool, typer.Option("--raw", help="Print the bytes as they were kept, and nothing else.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"email-router {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a profile where there is none yet.")] = False,
) -> None:
    """Bring mail in and send mail out, until SIGTERM or Ctrl-C.

    Brings the schema of the database up to date first. Any number of processes may run on one database: they share the
    mailboxes and the outbox, and take over from one that dies. A signal stops it in order within 8 seconds, a second
    one at once.
    """
    from router.commands import service

    service.run(wait=wait)


@app.command()
def healthz() -> None:
    """Ask the router of this machine whether it lives.

    For health checks: it asks for /healthz at EMAIL_ROUTER_CONSOLE; where that is off there is nothing to ask, and the
    status is 0.
    """
    from router.commands import healthz as commands

    commands.ask()


@app.command()
def demo() -> None:
    """Show everything with a sample CRM and sample mail.

    Nothing has to be installed or set. It has a database of its own, and mail servers of its own on loopback. Runs
    until SIGTERM or Ctrl-C, and can be started again on the same data.
    """
    from router.commands import service

    service.demo()


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

    Nothing is connected to. Each mistake is one line, FILE:LINE: what is wrong. Without mistakes it tells what each
    profile does.
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
    as_json: Json = False,
) -> None:
    """Connect to every profile for real and say what works.

    For each approved owner's mailbox: name, connection, TLS and certificate, login, capabilities, folders and what is
    in them. Relays up to the login, sending nothing; listeners, whether they can listen. Nothing is changed anywhere.
    """
    from router.commands import test as trial

    trial.test(name, owner or (), as_json=as_json)


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
    fault, or messages are missing. That sending was stopped, or that email waits for a person, is no fault.
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
    as_json: Json = False,
) -> None:
    """Ask the mail servers what they hold, and account for every message.

    Each message has a disposition, came before reading began, is still to be read, or is missing. Missing messages are
    told by place, time and Message-ID. Nothing is changed on the servers, and a running router goes on meanwhile. What
    is stopped in between goes on where it was, within six hours.

    Exit status 1 if a message is missing, or a mailbox or folder could not be asked.
    """
    from router.commands import audit as commands

    commands.audit(name, owner, repair=repair, details=details, as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Ask everything at once: what is wrong, and what to do about it.

    Database, clocks, disk, processes, profiles and secrets, owners whom nobody serves, what is at fault and when it is
    tried next, what waits and why, and each server as test asks it. The worst comes first, each with a cure. Nothing
    is changed anywhere. Exit status 1 if something does not work; a warning is none.
    """
    from router.commands import doctor as commands

    commands.examine(as_json=as_json)


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the schema of the database up to date; run does so too.

    Makes the router's own database where there is none. Tells what it applied. Where the CRM holds for five minutes
    what a migration has to lock, it gives up, names who holds it, and leaves the schema as it was before that one.
    """
    from router.commands import service

    service.migrate(as_json=as_json)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    }
)
def sql(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="PSQL-ARGUMENTS", help="Passed to psql.", show_default=False)
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE",
            help="With the rights of this role, such as your CRM's; before the arguments of psql.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Open psql on the database: email-router sql -c "select 1".

    Reads SQL from stdin as psql does, and stops at the first error. Starts the router's own PostgreSQL if no other
    process has.

    The help of psql: email-router sql -- --help
    """
    from router.commands import sql as shell

    shell.open_psql(arguments or (), role)


@app.command()
def explain(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Messages as they travel (.eml); - for stdin.", show_default=False),
    ],
    owner: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Decide as if they arrived in this mailbox.", show_default=False),
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
    as_json: Json = False,
) -> None:
    """Show what is read of messages, and what would become of them.

    With --owner, the decision and its reasons, as if the files had just arrived in that owner's mailbox, one after the
    other. With --forward, what was forwarded in them to a profile whose role is forward, and whether that is believed.
    Nothing is stored. Without --owner no database is needed.
    """
    from router.commands import explain as commands

    commands.explain(files, owner, rule, authserv, forward, as_json=as_json)


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
        UUID | None, typer.Option(metavar="ID", help="Its id in the CRM, as crm.email has it.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When it came, at the earliest: 2026-11-28, 2026-11-28T10:00 (in UTC, unless it says otherwise), or "
            "2h, 3d; 7 days ago by default.",
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
) -> None:
    """Set which of an owner's mail is promoted.

    all: everything. replies: what answers an email of the CRM. known: what comes from leads, contacts and accounts.
    email-enabled: what comes from any record that has addresses. none: nothing. default: what the profile says.
    """
    from router.commands import owners as commands

    commands.set_rule(mailbox, rule)


@sending.command("stop")
def sending_stop(reason: Reason = None) -> None:
    """Stop sending.

    What is pending waits; what is with a relay at this moment is finished.
    """
    from router.commands import sending as commands

    commands.switch(on=False, reason=reason)


@sending.command("start")
def sending_start(reason: Reason = None) -> None:
    """Start sending again.

    A copy of the database, restored on another PostgreSQL, does not send before this.
    """
    from router.commands import sending as commands

    commands.switch(on=True, reason=reason)


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

    commands.rule("dead", "replay", numbers or (), everything, of_profile, owner, before, by, as_json=as_json)


@dead_letters.command("drop")
def dead_letters_drop(
    numbers: Numbers = None,
    everything: All = False,
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Ignore dead letters for good, and delete their bytes."""
    from router.commands import letters as commands

    commands.rule("dead", "drop", numbers or (), everything, of_profile, owner, before, by, as_json=as_json)


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

    commands.rule("held", "release", numbers or (), everything, of_profile, owner, before, by, as_json=as_json)


@held.command("drop")
def held_drop(
    numbers: Numbers = None,
    everything: All = False,
    of_profile: OfProfile = None,
    owner: OfOwner = None,
    before: Before = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Ignore held mail for good, and delete its bytes."""
    from router.commands import letters as commands

    commands.rule("held", "drop", numbers or (), everything, of_profile, owner, before, by, as_json=as_json)


@profile.command("example")
def profile_example(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="A transport: imap, smtp …", show_default=False)
    ] = None,
) -> None:
    """Print a profile of a transport, ready to be changed.

    Without KIND it tells which transports there are.
    """
    from router.commands import profiles

    profiles.example(kind)


@profile.command("schema")
def profile_schema() -> None:
    """Print the JSON schema of profiles, for editors."""
    from router.commands import profiles

    profiles.print_schema()
