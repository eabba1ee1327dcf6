"""`check`, `profile example` and `profile schema`: nothing here connects to anything."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

import transports
from router import profile
from router.commands.terminal import carry_out, complain, say, say_json
from router.errors import ProfileErrors
from router.profile import OutgoingProfile, Profile, Profiles
from router.profile.schema import schema
from router.settings import Settings
from transports import MailboxSettings, ServerSettings
from transports import Settings as ModelSettings


def check(folder: Path | None, *, as_json: bool) -> None:
    """Read the profiles; say every mistake and end with status 1, or say what was found."""

    async def work(settings: Settings) -> Path:
        return folder or settings.profiles

    place = carry_out(work)
    try:
        reading = profile.read_folder(place)
        profiles, mistakes, notes = reading.profiles, reading.mistakes, reading.notes
    except ProfileErrors as error:
        profiles, mistakes, notes = Profiles((), ()), error.mistakes, ()
    found = [] if mistakes else list(profiles.by_key.values())
    if as_json:
        say_json(
            {
                "ok": not mistakes,
                "folder": place,
                "mistakes": list(map(asdict, mistakes)),
                "notes": list(map(asdict, notes)),
                "profiles": list(map(_described, found)),
            }
        )
    else:
        # They are what was asked for, so they go where a pipe reads them.
        for line in [*mistakes, *(f"{one.file}:{one.line}: {_told(one)}" for one in found)]:
            say(str(line))
        for note in notes:
            complain(str(note))
        if mistakes:
            complain(_count(len(mistakes), "mistake"))
        else:
            say(f"{_count(len(found), 'profile')} in {place}, no mistakes{_missing(profiles)}")
    if mistakes:
        raise typer.Exit(1)


def example(kind: str) -> None:
    """Print the example profile of a transport."""
    if kind not in transports.kinds():
        raise typer.BadParameter(f"there is no transport {kind!r}; there are {', '.join(transports.kinds())}")
    say(profile.example(kind).rstrip("\n"))


def print_schema() -> None:
    """Print the JSON schema of a profile file."""
    say_json(schema())


def _told(one: Profile) -> str:
    if isinstance(one, OutgoingProfile):
        return (
            f"{one.title} {one.kind.name} sends for {', '.join(one.senders)} through {one.settings.server}, "
            f"{_count(one.settings.connections, 'connection')}"
        )
    role = " (role forward)" if one.forwards else ""
    whom = f"what {', '.join(one.forwarders)} forward" if one.forwards else ", ".join(one.owners)
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
            "connections": one.settings.connections,
            "max_attempts": one.max_attempts,
            "on_unknown": one.on_unknown,
        }
    whom = {"role": one.role, "forwarders" if one.forwards else "owners": one.forwarders or one.owners}
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


def _missing(profiles: Profiles) -> str:
    if not profiles.incoming:
        return "; none of them brings mail in"
    return "" if profiles.outgoing else "; none of them sends"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
