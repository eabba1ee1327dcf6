"""Which profiles are served: the running processes say so; where none runs, the profile folder does."""

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from router.errors import Mistake, ProfileErrors
from router.model import Key, ServedProfile
from router.profile.served import ServedProfiles, WrittenProfile, read_written
from router.repository.database import Database
from router.repository.processes import Process, list_processes


@dataclass(frozen=True, slots=True)
class ProfileState:
    """One profile, and who serves which form of it.

    `served_by` lists the processes by form, the form of the profile folder first where it is served. `fault` says why
    the folder's form is not in use; `note`, that it is not in use yet, or that processes differ.
    """

    profile: ServedProfile
    served_by: Mapping[str, tuple[str, ...]]
    fault: str | None = None
    note: str | None = None

    @property
    def fault_since(self) -> datetime | None:
        """Since when, as far as a process says it."""
        return self.profile.fault_since if self.fault is not None else None


@dataclass(frozen=True, slots=True)
class Served:
    """What is served. `running`: alive processes say so; otherwise it is what the folder's profiles would serve.

    `mistakes` are those of the folder, unless a running process is content with the profile: it knows better than a
    shell that lacks its secrets. `strays` are those of them that are of a file,
    and of no profile in it.
    """

    profiles: ServedProfiles
    running: bool
    states: tuple[ProfileState, ...]
    mistakes: tuple[Mistake, ...]
    strays: tuple[Mistake, ...]


async def read(database: Database, lease: timedelta, folder: Path) -> Served:
    """Ask the alive processes and the folder, which is read beside the loop."""
    return await asyncio.to_thread(compare, await list_processes(database, lease), folder)


def compare(processes: Iterable[Process], folder: Path, here: str | None = None) -> Served:
    """Compare what the alive processes serve with the folder; `here` is this machine's name."""
    telling = [one for one in processes if one.alive and one.profiles]
    if not telling:
        return _of_folder(folder)
    served: dict[Key, dict[str, list[str]]] = {}
    profiles: dict[Key, ServedProfile] = {}
    for process in telling:
        for one in process.profiles:
            if one.runs:
                served.setdefault(one.key, {}).setdefault(one.form, []).append(process.title)
            # The form that a fault is told of is the one to show, and before all one that runs somewhere.
            shown = profiles.get(one.key)
            if shown is None or (one.runs, one.fault is not None) >= (shown.runs, shown.fault is not None):
                profiles[one.key] = one
    here = here or socket.gethostname()
    # On another machine the folder is another one.
    compared = any(one.host == here for one in telling)
    try:
        found, strays = read_written(folder) if compared else ([], [])
    except ProfileErrors:
        found, strays = [], []
    # That there is no profile at all says only that this shell looks elsewhere.
    strays = [one for one in strays if one.file != str(folder)]
    written = {one.profile.key: one for one in found}
    # A process that serves this very form found nothing wrong with it: what is wrong is only here.
    wrong = [one for one in found if one.profile.form not in served.get(one.profile.key, {})]
    states = [
        _state(profiles.get(key) or written[key].profile, served.get(key, {}), written.get(key), compared=bool(found))
        for key in dict.fromkeys([*profiles, *written])
    ]
    return Served(
        ServedProfiles(profiles.values()),
        running=True,
        states=tuple(states),
        mistakes=tuple(sorted([*strays, *(mistake for one in wrong for mistake in one.mistakes)])),
        strays=tuple(strays),
    )


def _of_folder(folder: Path) -> Served:
    try:
        found, strays = read_written(folder)
    except ProfileErrors as error:
        return Served(ServedProfiles(()), running=False, states=(), mistakes=error.mistakes, strays=())
    return Served(
        ServedProfiles(one.profile for one in found),
        running=False,
        states=tuple(ProfileState(one.profile, {}, _words(one.mistakes)) for one in found),
        mistakes=tuple(sorted([*strays, *(mistake for one in found for mistake in one.mistakes)])),
        strays=tuple(one for one in strays if one.file != str(folder)),
    )


def _state(
    profile: ServedProfile, served: Mapping[str, Sequence[str]], written: WrittenProfile | None, *, compared: bool
) -> ProfileState:
    by_form = {form: tuple(titles) for form, titles in served.items()}
    fault, note = profile.fault, None
    if written is not None and written.profile.form in by_form:
        # The folder's own form comes first.
        by_form = {written.profile.form: by_form[written.profile.form], **by_form}
    elif written is not None and fault is None:
        fault = _words(written.mistakes)
        if fault is None:
            where = f"{written.profile.file}:{written.profile.line}"
            note = f"{where} has another form, which is not in use yet" if by_form else f"{where} is not in use yet"
    elif written is None and fault is None and compared:
        note = "it is no longer in the profile folder, and still in use"
    if note is None and len(by_form) > 1:
        forms = "; ".join(f"{form} by {', '.join(titles)}" for form, titles in by_form.items())
        note = f"processes serve different forms of it: {forms}"
    return ProfileState(profile, by_form, fault, note)


def _words(mistakes: Sequence[Mistake]) -> str | None:
    return "; ".join(map(str, mistakes)) or None
