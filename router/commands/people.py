"""`staff add|grant|reset|disable|sign-out|link`."""

import sys
from collections.abc import Sequence

import typer

from router import app
from router.commands.terminal import carry_out, say
from router.errors import RouterError
from router.operations import people
from router.operations.people import Listed, StaffRole
from router.operations.words import moment
from router.settings import Settings


def add(name: str, role: str, queues: Sequence[str], owners: Sequence[str]) -> None:
    """Add a person."""
    _check(role)

    async def work(settings: Settings) -> str:
        async with app.database_of(settings) as database:
            grants = await people.grants_named(database, role, queues=queues, users=owners)
            return _link(settings, await people.add(database, name, grants))

    _say_link(carry_out(work))


def grant(name: str, role: str, queues: Sequence[str], owners: Sequence[str]) -> None:
    """Grant a person something else."""
    _check(role)

    async def work(settings: Settings) -> None:
        async with app.database_of(settings) as database:
            grants = await people.grants_named(database, role, queues=queues, users=owners)
            await people.grant(database, name, grants)

    carry_out(work)
    mail = f"the mail of {', '.join([*queues, *owners])}" if queues or owners else "all mail"
    say(f"{name} has the role {role} for {mail}")


def reset(name: str) -> None:
    """Make another link for a person."""

    async def work(settings: Settings) -> str:
        async with app.database_of(settings) as database:
            return _link(settings, await people.reset(database, name))

    _say_link(carry_out(work))


def disable(name: str) -> None:
    """Disable a person."""

    async def work(settings: Settings) -> None:
        async with app.database_of(settings) as database:
            await people.disable(database, name)

    carry_out(work)
    say(f"{name} is disabled; the sessions have ended")


def sign_out(name: str) -> None:
    """End all sessions of a person."""

    async def work(settings: Settings) -> int:
        async with app.database_of(settings) as database:
            return await people.sign_out(database, name)

    ended = carry_out(work)
    say(f"{ended} session{'' if ended == 1 else 's'} of {name} ended")


def first_link() -> None:
    """Make a link for the first administrator."""

    async def work(settings: Settings) -> str:
        async with app.database_of(settings) as database:
            secret = await people.first_link(database)
            if secret is None:
                raise RouterError(
                    'there are people already: "email-router staff list" names them, "staff reset" helps them'
                )
            return _link(settings, secret)

    _say_link(carry_out(work))


def rows(listed: Sequence[Listed]) -> Sequence[Sequence[object]]:
    """What `staff list` tells of people."""
    return [
        (
            one.person.name,
            ", ".join(dict.fromkeys(grant.role.value for grant in one.person.grants)) or "nothing",
            ", ".join(one.owners.values()) or "all",
            moment(one.person.seen_at) if one.person.seen_at else "",
            "disabled" if one.person.disabled_at else "active" if one.person.can_sign_in else "not signed in yet",
        )
        for one in listed
    ]


def _check(role: str) -> None:
    if role not in set(StaffRole):
        raise typer.BadParameter(f"there is no {role}; there are {', '.join(StaffRole)}", param_hint="--role")


def _link(settings: Settings, secret: str) -> str:
    return f"{settings.console_link}/link/{secret}"


def _say_link(link: str) -> None:
    # Alone, and as it is: it is sent on.
    sys.stdout.write(link + "\n")
