"""`check`, `profile example` and `profile schema`: nothing here connects to a mail server."""

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import carry_out, complain, say, say_json
from router.errors import DatabaseError, Mistake, UnknownName
from router.operations import check as operation
from router.operations.check import Checked
from router.operations.words import count
from router.profile import OutgoingProfile, Profile
from router.profile.schema import schema
from router.settings import Settings
from transports import MailboxSettings, ServerSettings
from transports import Settings as ModelSettings


def check(folder: Path | None, *, as_json: bool) -> None:
    """Say what the profiles do, or every mistake in them and end with status 1."""

    async def work(settings: Settings) -> tuple[Path, Checked]:
        place = folder or settings.profiles
        return place, await _with_owners(operation.check(place), settings)

    place, checked = carry_out(work)
    if as_json:
        say_json(
            {
                "ok": not checked.mistakes,
                "folder": place,
                "mistakes": list(map(asdict, checked.mistakes)),
                "notes": list(map(asdict, checked.notes)),
                "owners": list(map(asdict, checked.owners)),
                "rules": list(map(asdict, checked.rules)),
                "profiles": list(map(_described, checked.profiles)),
            }
        )
    else:
        _say(place, checked)
    if checked.mistakes:
        raise typer.Exit(1)


async def _with_owners(checked: Checked, settings: Settings) -> Checked:
    """Ask the database for owners and rules, where there is one; the profiles can be checked without."""
    if not checked.profiles:
        return checked
    if settings.database_url is None and not await asyncio.to_thread(settings.data.exists):
        return checked
    try:
        async with app.database_of(settings) as database:
            return await operation.with_owners(checked, database)
    except DatabaseError as error:
        return replace(
            checked,
            notes=[*checked.notes, Mistake("", 0, f"the owners are not known, nor the rules of the database: {error}")],
        )


def example(kind: str | None) -> None:
    """Print the example profile of a transport, a mail server or a provider."""
    if kind is None:
        raise typer.BadParameter(f"say which: {', '.join(profile.examples())}", param_hint="KIND")
    try:
        say(profile.example(kind).rstrip("\n"))
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="KIND") from None


def print_schema() -> None:
    """Print the JSON schema of a profile file."""
    say_json(schema())


def _say(place: Path, checked: Checked) -> None:
    # Mistakes are what was asked for, so they go where a pipe reads them.
    for line in [
        *checked.mistakes,
        *(f"{one.file}:{one.line}: {_told(one)}" for one in checked.profiles),
        *checked.owners,
        *checked.rules,
    ]:
        say(str(line))
    for note in checked.notes:
        complain(str(note))
    if checked.mistakes:
        complain(count(len(checked.mistakes), "mistake"))
    else:
        missing = f"; {checked.missing}" if checked.missing else ""
        if checked.owners:
            missing += f"; the email of {count(len(checked.owners), 'owner')} waits for an outgoing profile"
        say(f"{count(len(checked.profiles), 'profile')} in {place}, no mistakes{missing}")


def _told(one: Profile) -> str:
    if isinstance(one, OutgoingProfile):
        return (
            f"{one.title} {one.kind.name} sends for {', '.join(one.senders)} through {one.settings.where}, "
            f"{count(one.settings.connections, 'connection')}"
        )
    role = f" (role {one.role})" if one.forwards else ""
    is_forwarded = one.forwards and not one.catches_all
    whom = f"what {', '.join(one.forwarders)} forward" if is_forwarded else ", ".join(one.owners or one.forwarders)
    if isinstance(one.settings, MailboxSettings):
        does = f"reads {one.settings.where} for {whom}, beginning with {one.start}, after {one.after}"
    else:
        does = f"listens at {one.settings.where} for {whom}"
    return f"{one.title} {one.kind.name}{role} {does}, rule {one.tracking_rule}"


def _described(one: Profile) -> dict[str, Any]:
    common = {"name": one.name, "transport": one.kind.name, "file": one.file, "line": one.line}
    if isinstance(one, OutgoingProfile):
        return {
            "direction": "outgoing",
            **common,
            "senders": one.senders,
            **_server(one.settings),
            "sends": one.settings.where,
            "connections": one.settings.connections,
            "rate": str(one.rate) if one.rate else None,
            "give_up_after": one.give_up_after,
            "max_attempts": one.max_attempts,
            "on_unknown": one.on_unknown,
        }
    key = "forwarders" if one.role == "forward" else "owners"
    whom = {"role": one.role, key: one.forwarders or one.owners}
    serves = {
        "direction": "incoming",
        **common,
        **whom,
        "rule": one.tracking_rule,
        "start": one.start,
    }
    if isinstance(one.settings, MailboxSettings):
        return {**serves, **_server(one.settings), "after": str(one.after), "reads": one.settings.where}
    return {**serves, "listen": one.settings.listen}


def _server(settings: ModelSettings) -> dict[str, Any]:
    if not isinstance(settings, ServerSettings):
        return {}
    return {"host": settings.host, "port": settings.effective_port, "security": settings.security}
