"""`never-track list|add|remove`."""

from collections.abc import Sequence
from dataclasses import asdict

from router import app
from router.commands.terminal import carry_out, say, say_json, say_table, who
from router.operations import never_track as operation
from router.operations.words import moment
from router.settings import Settings

_ORGANIZATION = "the organization"


def show(owner: str | None, *, as_json: bool) -> None:
    """List whose mail is never tracked."""

    async def work(settings: Settings) -> Sequence[operation.NeverTracked]:
        async with app.database_of(settings) as database:
            return await operation.list_all(database, owner)

    found = carry_out(work)
    if as_json:
        say_json({"never_track": [asdict(one) for one in found]})
    elif not found:
        say("nobody's mail is never tracked")
    else:
        rows = [(one.pattern, one.mailbox or _ORGANIZATION, one.by, moment(one.at)) for one in found]
        say_table(["never tracked", "for", "by", "since"], rows)


def add(pattern: str, owner: str | None, by: str | None) -> None:
    """Never track mail from an address or domain."""

    async def work(settings: Settings) -> tuple[str, bool]:
        async with app.database_of(settings) as database:
            return await operation.add(database, pattern, owner, by or who())

    added, is_new = carry_out(work)
    say(f"{added} is {'' if is_new else 'already '}never tracked for {owner or _ORGANIZATION}")


def remove(pattern: str, owner: str | None) -> None:
    """Take a pattern off a list."""

    async def work(settings: Settings) -> tuple[str, bool]:
        async with app.database_of(settings) as database:
            return await operation.remove(database, pattern, owner)

    removed, was_there = carry_out(work)
    words = "is off the list" if was_there else "was not on the list"
    say(f"{removed} {words} of {owner or _ORGANIZATION}")
