"""`owners list`, `owners approve` and `owners set`."""

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import carry_out, complain, say, say_json, say_table
from router.errors import Mistake, ProfileErrors, RouterError
from router.model import Rule, normalize
from router.profile import IncomingProfile, Profiles
from router.repository import owners
from router.repository.owners import ListedOwner, WithoutMailbox
from router.settings import Settings

Everyone = tuple[list[ListedOwner], list[WithoutMailbox]]


def show(*, as_json: bool) -> None:
    """List the owners, with the profiles that serve them."""

    async def work(settings: Settings) -> tuple[Everyone, Profiles]:
        async with app.database_of(settings) as database:
            everyone = await owners.list_owners(database), await owners.list_without_mailbox(database)
        return everyone, _profiles(settings)

    (listed, without), profiles = carry_out(work)
    notes = _notes(listed, profiles)
    if as_json:
        say_json(
            {
                "owners": [_described(one, profiles) for one in listed],
                "without_mailbox": [{"name": one.name, "addresses": one.addresses} for one in without],
                "notes": [str(note) for note in notes],
            }
        )
        return
    if not listed and not without:
        say("there are no owners: the CRM names them, by rows in crm.owner")
    if listed:
        say_table(
            ["mailbox", "name", "approved", "rule", "read by", "sent by"], [_row(one, profiles) for one in listed]
        )
    for one in without:
        has = f"can be {' or '.join(one.addresses)}" if one.addresses else "has no address in crm.address either"
        say(f"{one.name or 'an owner without a name'}: no mailbox; it {has}")
    _say_notes(notes)


def approve(mailboxes: Sequence[str], *, revoke: bool) -> None:
    """Approve mailboxes, or take that back; every one that can be, and status 1 if one cannot."""

    async def work(settings: Settings) -> tuple[list[ListedOwner], Profiles, list[str]]:
        faults = []
        async with app.database_of(settings) as database:
            for mailbox in mailboxes:
                try:
                    await owners.approve(database, mailbox, approved=not revoke)
                except RouterError as error:
                    faults.append(f"{mailbox}: {error}")
            listed = await owners.list_owners(database)
        return listed, _profiles(settings), faults

    listed, profiles, faults = carry_out(work)
    wanted = {normalize(mailbox) for mailbox in mailboxes}
    ours = [one for one in listed if one.owner.mailbox in wanted and one.approved is not revoke]
    for one in ours:
        say(f"{one.owner.mailbox} is {'not approved any more' if revoke else 'approved'}")
    _say_notes(_notes(ours, profiles))
    if faults:
        complain("\n".join(faults))
        raise typer.Exit(1)


def set_rule(mailbox: str, rule: str) -> None:
    """Give an owner a tracking rule, or `default`: that of the profile."""
    words = [*Rule, "default"]
    if rule not in words:
        raise typer.BadParameter(f"the rule must be {', '.join(words[:-1])} or {words[-1]}", param_hint="--rule")
    own = None if rule == "default" else Rule(rule)

    async def work(settings: Settings) -> tuple[list[ListedOwner], Profiles]:
        async with app.database_of(settings) as database:
            await owners.set_rule(database, mailbox, own)
            return await owners.list_owners(database), _profiles(settings)

    listed, profiles = carry_out(work)
    for one in listed:
        if one.owner.mailbox == normalize(mailbox):
            say(f"{one.owner.mailbox} has the rule {_rule(one, profiles)}")
            _say_notes(_notes([one], profiles))


def _profiles(settings: Settings) -> Profiles:
    """Read the profiles as far as that is possible: owners are there without them."""
    try:
        return profile.load(settings.profiles)
    except ProfileErrors as error:
        complain(f'who is served cannot be told, since the profiles are wrong ("email-router check"):\n{error}')
        return Profiles((), ())


def _serving(one: ListedOwner, profiles: Profiles) -> list[IncomingProfile]:
    mailbox = one.owner.mailbox
    serving = (profiles.incoming_for(mailbox), profiles.listener_for(mailbox), profiles.forward_for(mailbox))
    return [found for found in serving if found is not None]


def _described(one: ListedOwner, profiles: Profiles) -> dict[str, Any]:
    carrier = profiles.outgoing_for(one.owner.mailbox)
    return {
        "mailbox": one.owner.mailbox,
        "name": one.name,
        "approved": one.approved,
        "rule": one.owner.rule,
        "incoming": [
            {"profile": found.name, "rule": one.owner.rule or found.tracking_rule} for found in _serving(one, profiles)
        ],
        "outgoing": carrier.name if carrier else None,
    }


def _row(one: ListedOwner, profiles: Profiles) -> tuple[str, ...]:
    carrier = profiles.outgoing_for(one.owner.mailbox)
    return (
        one.owner.mailbox,
        one.name,
        "yes" if one.approved else "no",
        _rule(one, profiles),
        ", ".join(found.name for found in _serving(one, profiles)) or "nobody",
        carrier.name if carrier else "nobody",
    )


def _rule(one: ListedOwner, profiles: Profiles) -> str:
    """Name the owner's rule, or in brackets those of the profiles that serve it."""
    if one.owner.rule is not None:
        return one.owner.rule
    defaults = dict.fromkeys(found.tracking_rule for found in _serving(one, profiles))
    return f"default ({', '.join(defaults)})" if defaults else "default"


def _notes(listed: Iterable[ListedOwner], profiles: Profiles) -> list[Mistake]:
    if not profiles.incoming:
        return []
    return profile.check_owners(profiles, ((one.owner.mailbox, one.approved, one.owner.rule) for one in listed))


def _say_notes(notes: Iterable[Mistake]) -> None:
    for note in notes:
        complain(str(note))
