"""Running the router, and its database."""

from typing import Annotated

import typer

from router.cli.base import Json, app


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
def migrate(as_json: Json = False) -> None:
    """Bring the schema of the database up to date, as run does.

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
