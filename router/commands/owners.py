"""`owners list`, `owners approve` and `owners set`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import typer

from router import app
from router.commands.terminal import carry_out, complain, say, say_json, say_table, who
from router.model import Rule
from router.operations import owners as operation
from router.operations.owners import Owners, ServedOwner
from router.settings import Settings


def show(*, as_json: bool) -> None:
    """List the owners, with the profiles that serve them."""

    async def work(settings: Settings) -> Owners:
        async with app.database_of(settings) as database:
            return await operation.list_all(database, _lease(settings), settings.profiles)

    found = carry_out(work)
    if as_json:
        say_json(
            {
                "owners": [_document(one) for one in found.owners],
                "without_mailbox": [{"name": one.name, "addresses": one.addresses} for one in found.without_mailbox],
                "notes": [str(note) for note in found.notes],
                "mistakes": [str(mistake) for mistake in found.mistakes],
                "locked_rule": found.locked_rule,
                "allowed_rules": found.allowed_rules,
            }
        )
        return
    if not found.owners and not found.without_mailbox:
        say("there are no owners: the CRM names them, by rows in crm.owner")
    if found.owners:
        say_table(["mailbox", "name", "approved", "rule", "read by", "sent by"], map(_row, found.owners))
    if found.locked_rule:
        say(f"the organization has locked the rule {found.locked_rule}")
    if len(found.allowed_rules) < len(Rule):
        say(f"the organization allows the rules {', '.join(found.allowed_rules)}")
    for one in found.without_mailbox:
        has = f"can be {' or '.join(one.addresses)}" if one.addresses else "has no address in crm.address either"
        say(f"{one.name or 'an owner without a name'}: no mailbox; it {has}")
    _say_notes(found)


def approve(mailboxes: Sequence[str], *, revoke: bool) -> None:
    """Approve mailboxes, or take that back; every one that can be, and status 1 if one cannot."""

    async def work(settings: Settings) -> tuple[Owners, Sequence[str]]:
        async with app.database_of(settings) as database:
            return await operation.approve(
                database, mailboxes, _lease(settings), settings.profiles, who(), approved=not revoke
            )

    found, faults = carry_out(work)
    for one in found.owners:
        say(f"{one.mailbox} is {'not approved any more' if revoke else 'approved'}")
    _say_notes(found)
    if faults:
        complain("\n".join(faults))
        raise typer.Exit(1)


def set_rule(mailbox: str, rule: str, by: str | None) -> None:
    """Give an owner a tracking rule, or `default`: that of the profile."""
    words = [*Rule, "default"]
    if rule not in words:
        raise typer.BadParameter(f"the rule must be {', '.join(words[:-1])} or {words[-1]}", param_hint="--rule")
    own = None if rule == "default" else Rule(rule)

    async def work(settings: Settings) -> Owners:
        async with app.database_of(settings) as database:
            return await operation.set_rule(database, mailbox, own, by or who(), _lease(settings), settings.profiles)

    found = carry_out(work)
    for one in found.owners:
        say(f"{one.mailbox} has the rule {_rule(one)}")
    _say_notes(found)


def _lease(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.lease)


def _document(one: ServedOwner) -> dict[str, Any]:
    return {
        "mailbox": one.mailbox,
        "name": one.name,
        "approved": one.approved,
        "rule": one.rule,
        "incoming": [{"profile": found.name, "rule": one.rule or found.tracking_rule} for found in one.routes.incoming],
        "outgoing": one.routes.sends.name if one.routes.sends else None,
    }


def _row(one: ServedOwner) -> tuple[str, ...]:
    return (
        one.mailbox,
        one.name,
        "yes" if one.approved else "no",
        _rule(one),
        ", ".join(found.name for found in one.routes.incoming) or "nobody",
        one.routes.sends.name if one.routes.sends else "nobody",
    )


def _rule(one: ServedOwner) -> str:
    """Name the owner's rule, or in brackets those of the profiles that serve it."""
    if one.rule is not None:
        return one.rule
    defaults = ", ".join(one.default_rules)
    return f"default ({defaults})" if defaults else "default"


def _say_notes(found: Owners) -> None:
    for note in found.notes:
        complain(str(note))
    if found.mistakes:
        complain('the profiles are wrong ("email-router check"):\n' + "\n".join(map(str, found.mistakes)))
