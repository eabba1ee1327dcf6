"""`unresolved list|show|resolve|ignore|never-track|undo|rulings`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

import typer

from router import app
from router.commands.terminal import Doing, carry_out, complain, confirm, say, say_json, say_table, who
from router.commands.words import moment
from router.errors import UnknownName
from router.operations import unresolved as operation
from router.operations.unresolved import Asked, NeverTracked, Ruling, Shown, Waiting
from router.operations.words import count
from router.settings import Settings

_NO_ADDRESS = "(no address)"


def show_all(owner: str | None, domain: str | None, limit: int, *, as_json: bool) -> None:
    """List who waits, by sender and by domain."""

    async def work(settings: Settings) -> tuple[list[Waiting], list[Waiting]]:
        async with app.database_of(settings) as database:
            return await operation.list_all(database, owner, domain, limit)

    senders, domains = carry_out(work)
    if as_json:
        say_json({"senders": [_waiting(one) for one in senders], "domains": [_waiting(one) for one in domains]})
        return
    if not senders:
        say("nobody waits")
        return
    say_table(["sender", "name", "emails", "since", "latest"], (_row(one) for one in senders))
    say()
    say_table(
        ["domain", "emails", "since", "latest"],
        ((one.subject, *_row(one)[2:]) for one in domains if one.subject != "@"),
    )


def show(address: str, *, as_json: bool) -> None:
    """Show what is known of one sender."""

    async def work(settings: Settings) -> Shown:
        async with app.database_of(settings) as database:
            return await operation.show(database, address)

    shown = carry_out(work)
    if as_json:
        say_json(asdict(shown))
        return
    waits = (
        f"{count(shown.waiting, 'email')} of {shown.address or _NO_ADDRESS} {'waits' if shown.waiting == 1 else 'wait'}"
    )
    say(f"{waits}: {shown.reason}" if shown.waiting else waits)
    for ruling in shown.in_force:
        say(_told(ruling))
    if shown.fault:
        say(f"candidates could not be looked for: {shown.fault}")
    if shown.candidates:
        say()
        say_table(
            ["record", "kind", "name", "why"],
            (
                (one.record_id, one.kind, one.name if one.active else f"{one.name} (not active)", "; ".join(one.why))
                for one in shown.candidates
            ),
        )
    if shown.mail:
        say()
        say_table(
            ["email", "received", "owner", "subject"],
            ((one.email_id, moment(one.received_at), one.owner or "nobody", one.subject) for one in shown.mail),
        )


def resolve(subject: str, record_id: UUID, by: str | None, replaces: int | None, *, yes: bool, as_json: bool) -> None:
    """Rule that an address, or a domain, is a record."""
    _rule(subject, record_id, by, replaces, yes=yes, as_json=as_json)


def ignore(subject: str, by: str | None, replaces: int | None, *, yes: bool, as_json: bool) -> None:
    """Rule that nobody has to say who a sender is."""
    _rule(subject, None, by, replaces, yes=yes, as_json=as_json)


def never_track(
    written: str, owner: str | None, by: str | None, replaces: int | None, *, yes: bool, as_json: bool
) -> None:
    """Ignore a sender's mail from now on, and let it leave the queue."""
    try:
        subject = operation.never_tracked_subject(written)
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="ADDRESS|DOMAIN") from None

    async def look(settings: Settings) -> Asked:
        async with app.database_of(settings) as database:
            return await operation.ask_of_owner(database, subject, owner)

    asked = carry_out(look)
    expected = replaces
    if not yes:
        if asked.in_force:
            typer.echo(_told(asked.in_force), err=True)
            expected = replaces or asked.in_force.id  # who goes on knows it
        confirm(f"{_affected(asked, owner)}: go on?")

    async def work(settings: Settings) -> NeverTracked:
        async with app.database_of(settings) as database:
            done = await operation.never_track_sender(database, subject, owner, by or who(), expected)
            if done.ruling is None:
                return done
            with Doing("ignoring"):
                async for _ in operation.carry_out(database, done.ruling):
                    pass
            return replace(done, ruling=await operation.find(database, done.ruling.id))

    done = carry_out(work)
    if as_json:
        say_json(asdict(done) | {"waiting": asked.waiting})
        return
    say(f"{done.pattern} is {'' if done.is_new else 'already '}never tracked for {owner or 'the organization'}")
    if done.ruling is None:
        say(f'undone by: "email-router never-track remove {done.pattern} --owner {owner}"')
        return
    _end(done.ruling, as_json=False)
    say(f'undone by: "email-router unresolved undo {done.ruling.id}"')


def _affected(asked: Asked, owner: str | None) -> str:
    waits, stay = ("waits", "stays") if asked.waiting == 1 else ("wait", "stay")
    within = f" in the mailbox of {owner}" if owner else ""
    emails = f"{count(asked.waiting, 'email')} of {asked.subject} {waits} for a person{within}"
    then = f"and {stay} in the queue" if owner else f"will not any more, and {stay} in the CRM"
    return f'{emails}, {then} ("email-router take-back" takes them back); all further mail is ignored'


def undo(ruling_id: int | None, by: str | None, *, as_json: bool) -> None:
    """Undo a ruling."""

    async def work(settings: Settings) -> Ruling:
        async with app.database_of(settings) as database:
            undone = await operation.undo(database, ruling_id, by or who())
            with Doing("undoing"):
                async for _ in operation.carry_out(database, undone):
                    pass
            return await operation.find(database, undone.id)

    _end(carry_out(work), as_json=as_json)


def rulings(limit: int, *, everything: bool, as_json: bool) -> None:
    """List rulings."""

    async def work(settings: Settings) -> list[Ruling]:
        async with app.database_of(settings) as database:
            return await operation.list_rulings(database, limit, undone=everything)

    found = carry_out(work)
    if as_json:
        say_json({"rulings": [asdict(one) for one in found]})
        return
    if not found:
        say("there is no ruling")
        return
    say_table(
        ["number", "subject", "is", "by", "at", "resolved", "state"],
        ((one.id, one.subject, _ruled(one), one.by, moment(one.at), one.parties, _state(one)) for one in found),
    )


def _rule(
    subject: str, record_id: UUID | None, by: str | None, replaces: int | None, *, yes: bool, as_json: bool
) -> None:
    async def look(settings: Settings) -> Asked:
        async with app.database_of(settings) as database:
            return await operation.ask(database, subject, record_id)

    asked = carry_out(look)
    expected = replaces
    if not yes:
        if asked.in_force:
            typer.echo(_told(asked.in_force), err=True)
            expected = replaces or asked.in_force.id  # who goes on knows it
        confirm(f"{_touched(asked, record_id)}: go on?")

    async def work(settings: Settings) -> Ruling:
        async with app.database_of(settings) as database:
            ruling = await operation.rule(database, subject, record_id, by or who(), expected)
            with Doing("resolving" if record_id else "ignoring") as doing:
                async for touched in operation.carry_out(database, ruling):
                    doing.show(f"{touched} done")
            return await operation.find(database, ruling.id)

    _end(carry_out(work), as_json=as_json)


def _touched(asked: Asked, record_id: UUID | None) -> str:
    waits = "waits" if asked.waiting == 1 else "wait"
    emails = f"{count(asked.waiting, 'email')} of {asked.subject} {waits} for a person"
    if record_id is None:
        return f"{emails}, and will not any more"
    parties = count(asked.parties, "unresolved party", "unresolved parties")
    return f"{emails}; {parties} will be record {record_id}"


def _end(ruling: Ruling, *, as_json: bool) -> None:
    if as_json:
        say_json(asdict(ruling))
    else:
        say(_told(ruling))
        if ruling.kind == "resolve" and not ruling.undone_at:
            say(f"resolved: {count(ruling.touched, 'party', 'parties')} of mail that waited")
        if ruling.kept:
            say(ruling.kept)
    if not ruling.is_done:
        complain(
            "some of it may be left, since a transaction of somebody else's has it locked, or began before: a router "
            "does it later, or the same command"
        )


def _told(ruling: Ruling) -> str:
    words = f"ruling {ruling.id}: {ruling.subject} is {_ruled(ruling)}, as {ruling.by} said at {moment(ruling.at)}"
    return f"{words}; {state}" if (state := _state(ruling)) != "in force" else words


def _ruled(ruling: Ruling) -> str:
    if ruling.kind == "ignore-sender":
        return "ignored"
    return f"{ruling.record} ({ruling.record_id})" if ruling.record else str(ruling.record_id)


def _state(ruling: Ruling) -> str:
    if ruling.undone_at:
        return f"undone by {ruling.undone_by} at {moment(ruling.undone_at)}"
    return f"replaced by ruling {ruling.replaced_by}" if ruling.replaced_by else "in force"


def _row(waiting: Waiting) -> Sequence[object]:
    return (
        waiting.subject or _NO_ADDRESS,
        waiting.name,
        waiting.number,
        moment(waiting.since),
        moment(waiting.latest),
    )


def _waiting(waiting: Waiting) -> dict[str, Any]:
    document = asdict(waiting)
    return {"emails" if name == "number" else name: value for name, value in document.items()}
