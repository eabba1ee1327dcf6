"""`settings list|set|reset`."""

import json
from collections.abc import Iterable
from datetime import timedelta
from textwrap import fill
from typing import Any, Final

from router import app
from router.commands.terminal import carry_out, complain, say, say_json, who
from router.model.settings import SETTINGS, Setting, Value
from router.operations import settings as operation
from router.operations.settings import Listed
from router.operations.words import moment
from router.settings import Settings

_WIDTH: Final = 80  # characters of a line


def show(owner: str | None, *, as_json: bool) -> None:
    """List the settings, with the values that count."""

    async def work(settings: Settings) -> list[Listed]:
        async with app.database_of(settings) as database:
            return await operation.list_all(database, owner, timedelta(seconds=settings.lease), settings.profiles)

    listed = carry_out(work)
    if as_json:
        say_json({"settings": [_document(one) for one in listed]})
        return
    for one in listed:
        setting = one.chosen.setting
        say(f"{setting.name}: {_value(one.chosen.value) or 'none'} [{_place(one)}]")
        for words in (setting.help, f"It may be: {setting.values}."):
            say(fill(words, _WIDTH, initial_indent="    ", subsequent_indent="    "))
    for one in listed:
        if one.fault:
            complain(f"{one.chosen.setting.name}: {one.fault}")


def choose(name: str, value: str, owner: str | None, by: str | None, *, lock: bool) -> None:
    """Choose a value, for the organization or an owner."""

    async def work(settings: Settings) -> tuple[Setting, Value]:
        async with app.database_of(settings) as database:
            return await operation.choose(database, name, value, by or who(), owner, locked=lock)

    setting, chosen = carry_out(work)
    locked = ", locked" if lock and not owner else ""
    say(f"{setting.name} is {_value(chosen)} for {owner or 'the organization'}{locked}")


def reset(name: str, owner: str | None, by: str | None) -> None:
    """Let the organization or an owner have chosen nothing."""

    async def work(settings: Settings) -> tuple[Setting, bool]:
        async with app.database_of(settings) as database:
            return await operation.reset(database, name, by or who(), owner)

    setting, had = carry_out(work)
    words = f"has not chosen {setting.name} any more" if had else f"had not chosen {setting.name}"
    say(f"{owner or 'the organization'} {words}")


def _value(value: Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _place(one: Listed) -> str:
    place = one.chosen.place
    if place == "organization" and one.at is not None:
        locked = ", locked" if one.chosen.locked else ""
        return f"organization{locked} (by {one.by}, {moment(one.at)})"
    if place == "owner" and one.at is not None:
        return f"owner (by {one.by}, {moment(one.at)})"
    return f"profile {one.profile}" if place == "profile" else place


def own_words(listed: Iterable[Listed]) -> str:
    """Say what an owner has chosen, by whom and when."""
    return ", ".join(
        f"{one.chosen.setting.name} {_value(one.chosen.value)}"
        + (f" (by {one.by}, {moment(one.at)})" if one.at else "")
        for one in listed
    )


def _document(one: Listed) -> dict[str, Any]:
    setting = SETTINGS[one.chosen.setting.name]
    return {
        "name": setting.name,
        "value": one.chosen.value,
        "from": one.chosen.place,
        "locked": one.chosen.locked,
        "by": one.by,
        "at": one.at,
        "profile": one.profile,
        "fault": one.fault,
        "values": str(setting.values),
        "default": setting.default,
        "places": sorted(setting.places),
        "help": setting.help,
    }
