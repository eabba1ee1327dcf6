"""Who may use the console, and the API."""

from typing import Annotated

import typer

from router.cli.base import Json, group

staff = group("staff", "Who may use the console and the API: people and tokens.")

Person = Annotated[str, typer.Argument(metavar="NAME", help="The person's name.", show_default=False)]
Role = Annotated[
    str,
    typer.Option(
        metavar="ROLE",
        help="What the person may do: view mail, decide on it (which includes the first), or administer everything.",
    ),
]
Queues = Annotated[
    list[str],
    typer.Option("--queue", metavar="QUEUE", help="With the mail of this queue, by mailbox or name; may be repeated."),
]
OwnersOf = Annotated[
    list[str],
    typer.Option("--owner", metavar="ADDRESS", help="With the mail of this user, by mailbox or name; may be repeated."),
]


@staff.command("add")
def staff_add(name: Person, role: Role = "view", queue: Queues = [], owner: OwnersOf = []) -> None:  # noqa: B006
    """Add a person, and print a one-time link to choose a password by.

    Without --queue and --owner it is for all mail.
    """
    from router.commands import people as commands

    commands.add(name, role, queue, owner)


@staff.command("grant")
def staff_grant(name: Person, role: Role = "view", queue: Queues = [], owner: OwnersOf = []) -> None:  # noqa: B006
    """Grant a person this, in place of what was granted."""
    from router.commands import people as commands

    commands.grant(name, role, queue, owner)


@staff.command("reset")
def staff_reset(name: Person) -> None:
    """Print a one-time link to choose another password by.

    A person who was disabled is enabled. The password holds until the link is used; then all sessions end. Passkeys
    go at once, and whoever comes by the name from the provider next is taken for the person.
    """
    from router.commands import people as commands

    commands.reset(name)


@staff.command("disable")
def staff_disable(name: Person) -> None:
    """Disable a person.

    All sessions end at once, and signing in is refused.
    """
    from router.commands import people as commands

    commands.disable(name)


@staff.command("sign-out")
def staff_sign_out(name: Person) -> None:
    """End all sessions of a person, who may sign in again."""
    from router.commands import people as commands

    commands.sign_out(name)


@staff.command("link")
def staff_link() -> None:
    """Print a one-time link for the first administrator.

    It is as the log of the first start has it.
    """
    from router.commands import people as commands

    commands.first_link()


Name = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.", show_default=False)]


@staff.command("token")
def staff_token(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who does what is done with it, such as crm.", show_default=False)
    ],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="SCOPE",
            help="What it allows; may be repeated: audit:read, emails:read, emails:send, events:read, letters:read, "
            "letters:decide, owners:read, owners:manage, status:read, unresolved:read, unresolved:decide, "
            "webhooks:read, webhooks:manage.",
            show_default=False,
        ),
    ],
    days: Annotated[int, typer.Option(metavar="DAYS", min=1, max=3660, help="For how long it is valid.")] = 365,
) -> None:
    """Make a token of the API, and print it alone.

    It is shown this once: the database keeps its hash. There is one valid token of a name.
    """
    from router.commands import staff as commands

    commands.token(name, scope, days)


@staff.command("list")
def staff_list(as_json: Json = False) -> None:
    """List people and tokens.

    What each person is granted; what each token allows, until when, and its last use.
    """
    from router.commands import staff as commands

    commands.show_all(as_json=as_json)


@staff.command("end")
def staff_end(name: Name) -> None:
    """End a token.

    It allows nothing any more, from the next request on.
    """
    from router.commands import staff as commands

    commands.end(name)
