"""`records rules`."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from router import app
from router.commands.terminal import carry_out, complain, say, say_json, say_table
from router.model import CreationRule
from router.operations import creation_rules as operation
from router.operations.creation_rules import Listed, ListedRule, words_of_wrong
from router.operations.words import moment
from router.settings import Settings


def show(owner: str | None, *, as_json: bool) -> None:
    """List the rules for records from mail, or those in force for an owner."""

    async def work(settings: Settings) -> Listed:
        async with app.database_of(settings) as database:
            return await operation.list_rules(database, settings.profiles, owner)

    listed = carry_out(work)
    for mistake in listed.mistakes:
        complain(str(mistake))
    if as_json:
        say_json({"rules": [_document(one) for one in listed.rules]})
        return
    if not listed.rules:
        say(f"no rule says that a record is made of mail{f' to {owner}' if owner else ''}")
        return
    say_table(["rule", "kept in", "makes", "for", "fits", "changed"], [_row(one) for one in listed.rules])
    for one in listed.rules:
        if one.faults:
            complain(f"rule '{one.name}' of {one.kept_in}: {words_of_wrong(one)}")
        if one.note:
            complain(f"rule '{one.name}' of {one.kept_in}: {one.note}")


def _row(one: ListedRule) -> tuple[str, ...]:
    kept_in = one.kept_in if one.position is None else f"{one.kept_in}, {one.position}"
    changed = f"{moment(one.at)} by {one.by}" if one.at else ""
    if one.rule is None:
        return (one.name, kept_in, "", "", "is wrong, and passed over", changed)
    makes = one.rule.makes if one.active else f"{one.rule.makes} (not active)"
    return (one.name, kept_in, makes, ", ".join(one.rule.owners) or "every queue", _fits(one.rule), changed)


def _fits(rule: CreationRule) -> str:
    return "; ".join(_conditions(rule)) or "all mail"


def _conditions(rule: CreationRule) -> Iterator[str]:
    if rule.to:
        yield f"to {' or '.join(rule.to)}"
    if rule.from_:
        yield f"from {' or '.join(rule.from_)}"
    if rule.subject:
        yield f"subject with {' or '.join(map(repr, rule.subject))}"
    yield from (f"{name} with {text!r}" for name, text in rule.headers)
    if rule.sender != "any":
        yield f"sender {rule.sender}"
    if rule.internal:
        yield "internal mail, too"


def _document(one: ListedRule) -> dict[str, Any]:
    said = asdict(one.rule) if one.rule else {"name": one.name, "kept_in": one.kept_in}
    if one.rule:
        said |= {"from": said.pop("from_"), "headers": dict(one.rule.headers), "fields": dict(one.rule.fields)}
    return said | {
        "active": one.active,
        "position": one.position,
        "by": one.by,
        "at": one.at,
        "faults": one.faults,
        "note": one.note,
    }
