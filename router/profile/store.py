"""The profiles that are in use, and word of each change: added, changed, broken, removed, or a secret replaced.

A profile that is broken keeps its old form, and so do all of a file that cannot be read: what runs goes on, and what is
wrong is told. A folder that lost something is read once more after a moment, since editors save in several steps.
"""

import asyncio
import os.path
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import structlog

from router.errors import Mistake, ProfileErrors
from router.model import Direction, Key, ServedProfile
from router.profile.files import Stamp, certificates, secrets, stamp
from router.profile.folder import Reading, read_folder
from router.profile.profiles import Profile, Profiles
from router.profile.served import served
from router.profile.watch import changes_of
from transports import NO_TOKENS, Tokens

SECOND_LOOK: Final = 0.4
"""Seconds after which a folder that lost something is read once more."""

RESTLESS: Final = 3.0
"""Seconds after a change in which the files are read at each look: a network's disk may date them by whole seconds."""

_log = structlog.get_logger(__name__)
_sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from before: profiles by direction and name, and mistakes that came and went.

    `secrets` are the profiles of which a secret was replaced.
    """

    added: tuple[Key, ...] = ()
    changed: tuple[Key, ...] = ()
    removed: tuple[Key, ...] = ()
    secrets: tuple[Key, ...] = ()
    broken: tuple[Mistake, ...] = ()
    mended: tuple[Mistake, ...] = ()

    def __bool__(self) -> bool:
        return any((self.added, self.changed, self.removed, self.secrets, self.broken, self.mended))

    def then(self, later: Self) -> Self:
        """Make one change of this one and a later one.

        What the later one undoes stays in it, since this one may have taken effect in part.
        """
        removed = {*self.removed, *later.removed} - {*later.added}
        added = ({*self.added, *later.added} - {*self.removed}) - removed
        changed = {*self.added, *self.changed, *self.removed, *later.added, *later.changed} - added - removed
        return type(self)(
            added=tuple(sorted(added)),
            changed=tuple(sorted(changed)),
            removed=tuple(sorted(removed)),
            secrets=tuple(sorted({*self.secrets, *later.secrets})),
            broken=(*(one for one in self.broken if one not in (*later.broken, *later.mended)), *later.broken),
            mended=(*(one for one in self.mended if one not in (*later.broken, *later.mended)), *later.mended),
        )


class ProfileStore:
    """The current profiles of a folder; `mistakes` are why others are not used, or an old form is.

    `faults` says of each profile that keeps its old form why; `notes` are of files that are not read. `at_fault` names
    the profiles that are broken, and the files whose mistakes are of no profile.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profiles = Profiles((), ())
        self._tokens = NO_TOKENS
        self.mistakes: tuple[Mistake, ...] = ()
        self.notes: tuple[Mistake, ...] = ()
        self.faults: Mapping[Key, str] = {}
        self.at_fault: Collection[str] = ()
        self._forms: Mapping[Key, datetime] = {}  # when each profile in use was read in the form that it has
        self._since: Mapping[tuple[str, str], datetime] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._untold = Change()
        self._calm_at = 0.0

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Read the folder for the first time. Nothing is raised: what is wrong is among the `mistakes`."""
        store = cls(folder)
        await store._read_changes()
        store._untold = Change()  # whoever opens it begins with the profiles as they are
        return store

    def use_tokens(self, tokens: Tokens) -> None:
        """Give these to all profiles, from now on."""
        self._tokens = tokens
        self.profiles = self.profiles.with_tokens(tokens)

    def log_mistakes(self) -> None:
        """Say in the log what is wrong, and which files are not read."""
        self._log_change(Change(broken=self.mistakes))
        for note in self.notes:
            _log.warning(str(note))

    async def watch(self, tell: Callable[[Change], Awaitable[None]]) -> None:
        """Tell of each change since the folder was first read, within two seconds, until canceled.

        A change counts as told when `tell` returns. Where `tell` raises, so does this, and the next `watch` begins with
        telling that change again, together with what has changed since.
        """
        async with aclosing(changes_of(self._folders)) as changes:
            async for _ in changes:
                self._log_change(await self._read_changes())
                if self._untold:
                    await tell(self._untold)
                    self._untold = Change()

    @property
    def told(self) -> list[ServedProfile]:
        """The profiles as other processes are to know them: those in use, and those that are not since they are broken.

        One that claims the name of another is no profile beside it.
        """
        profiles = self.profiles.by_key
        idle = {one.key: one for one in self.profiles.broken if one.key not in profiles}
        every = [*(served(one, self.faults.get(key)) for key, one in profiles.items()), *idle.values()]
        every = [one if one.runs else replace(one, fault=f"{one.fault}; it is not served") for one in every]
        return [replace(one, fault_since=self._since.get(one.key)) for one in every]

    async def _read_changes(self) -> Change:
        """Read the folder again if a file has changed, and return what differs; it is also added to what is untold."""
        stamps = await asyncio.to_thread(self._read_stamps, self.profiles)
        clock = asyncio.get_running_loop().time
        if stamps != self._stamps:
            self._calm_at = clock() + RESTLESS
        # A mistake may end without a change of a watched file, as when a missing secret appears.
        elif not self.mistakes and clock() > self._calm_at:
            return Change()
        reading = await self._read()
        # Keep the stamps taken before the reading: a file that changed meanwhile then differs at the next look. Files
        # that only the new profiles name have no earlier stamp.
        after = await asyncio.to_thread(self._read_stamps, reading.profiles) | _as_read(reading.profiles) | stamps
        differing = {path for path in self._stamps.keys() | stamps.keys() if self._stamps.get(path) != stamps.get(path)}
        differing.update([path.parent for path in differing])
        replaced = [one for one in self.profiles.by_key.values() if not differing.isdisjoint(secrets(one.settings))]
        change = _change(self, reading, replaced)
        # From here to the end nothing is awaited: canceled at any moment, we have seen a change or have not.
        profiles = reading.profiles.with_tokens(self._tokens)
        now, before, chosen = datetime.now(UTC), self.profiles.by_key, profiles.by_key
        self._forms = {key: self._forms[key] if before.get(key) == profile else now for key, profile in chosen.items()}
        self.profiles = profiles
        self.mistakes, self.notes = reading.mistakes, reading.notes
        self.faults = {
            key: f"{_why_kept(reading, chosen[key])}; it goes on in its form of {_moment(self._forms[key])}"
            for key in reading.kept
        }
        broken: set[tuple[str, str]] = {*self.faults, *(one.key for one in self.profiles.broken)}
        self._since = {key: self._since.get(key, now) for key in broken}
        # A folder that is empty has none, and of one that cannot be read every profile is.
        files = {one.file for one in reading.strays} - {str(self.folder)}
        self.at_fault = {name for _, name in broken} | files
        self._stamps = after
        self._untold = self._untold.then(change)
        return change

    def _log_change(self, change: Change) -> None:
        events = {
            "profile added": change.added,
            "profile changed": change.changed,
            "profile removed": change.removed,
        }
        for event, keys in events.items():
            for direction, name in keys:
                _log.info(event, profile=f"{direction}.{name}")
        for direction, name in change.secrets:
            self._log_secret(direction, name)
        for mistake in change.broken:
            kept = [key for key, fault in self.faults.items() if str(mistake) in fault]
            if kept:
                form = ", ".join(sorted({_moment(self._forms[key]) for key in kept}))
                _log.error("a profile is broken: it goes on in its earlier form", mistake=str(mistake), form=form)
            elif any(str(mistake) in (one.fault or "") for one in self.profiles.broken):
                _log.error("a profile is broken: it is not served", mistake=str(mistake))
            else:
                _log.error("profiles cannot be read, and are not served", mistake=str(mistake))
        for mistake in change.mended:
            # Where another took its place, nothing is better.
            if not any(one.file == mistake.file for one in change.broken):
                _log.info("a mistake in the profiles is mended", mistake=str(mistake))

    def _log_secret(self, direction: Direction, name: str) -> None:
        profile = self.profiles.by_key.get((direction, name))
        # Of the secrets of mailboxes only the folder is known.
        files = [] if profile is None else [path for path in secrets(profile.settings) if path not in self._parents]
        found = {path: self._stamps.get(path) for path in files}
        for path, known in found.items():
            if known is None or known[1] == 0:
                event = f"a secret is {'gone' if known is None else 'empty'}: open connections stay, and no login works"
                _log.warning(event, profile=f"{direction}.{name}", file=str(path))
                return
        cure = f'"email-router test {name}" tries it; connections that are open stay logged in'
        _log.info("a secret was replaced", profile=f"{direction}.{name}", next=cure)

    @property
    def _parents(self) -> set[Path]:
        return {path.parent for path in self._stamps}

    async def _read(self) -> Reading:
        reading = await asyncio.to_thread(_read_folder, self.folder, self.profiles)
        if not reading.kept and self.profiles.by_key.keys() <= reading.profiles.by_key.keys():
            return reading
        await _sleep(SECOND_LOOK)
        return await asyncio.to_thread(_read_folder, self.folder, self.profiles)

    def _read_stamps(self, profiles: Profiles) -> dict[Path, Stamp]:
        paths = _named(profiles)
        # What is written to in place leaves the stamp of its folder as it was.
        return {path: stamp(path) for path in (self.folder, *paths, *_entries({self.folder, *paths}))}

    async def _folders(self) -> Collection[Path]:
        """Where a change may be: the folder itself, and those of secrets and certificates, as far as they are there."""
        folders = {self.folder, *(path.parent for path in _named(self.profiles))}
        return await asyncio.to_thread(lambda: set(filter(_is_folder, folders)))


def _named(profiles: Profiles) -> set[Path]:
    every = profiles.by_key.values()
    return {path for one in every for path in (*certificates(one.settings), *secrets(one.settings))}


def _entries(paths: Iterable[Path]) -> Iterator[Path]:
    """What lies in those of the paths that are folders."""
    for path in paths:
        with suppress(OSError, ValueError):  # ValueError: a NUL in the name
            yield from path.iterdir()


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises where we may not look, or a network's disk is away


def _as_read(profiles: Profiles) -> dict[Path, Stamp]:
    """How the certificates were when their profiles were read."""
    every = profiles.by_key.values()
    return {path: known for one in every for path, known in zip(certificates(one.settings), one.files, strict=True)}


def _read_folder(folder: Path, running: Profiles) -> Reading:
    try:
        return read_folder(folder, running)
    except ProfileErrors as error:
        # It may be a mount that comes back: what runs goes on.
        return Reading(running, error.mistakes, (), {}, frozenset(running.by_key), frozenset(), ())


def _why_kept(reading: Reading, profile: Profile) -> str:
    """Say why a profile keeps its old form: its own mistakes, or those of the file in which it was."""
    own = reading.broken.get(profile.key) or [one for one in reading.mistakes if one.file == profile.file]
    return "; ".join(map(str, own or reading.mistakes))


def _change(store: ProfileStore, reading: Reading, replaced: Iterable[Profile]) -> Change:
    old, new = store.profiles.by_key, reading.profiles.by_key
    return Change(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(key for key in old.keys() & new.keys() if old[key] != new[key])),
        removed=tuple(sorted(old.keys() - new.keys())),
        secrets=tuple(sorted(one.key for one in replaced)),
        broken=tuple(one for one in reading.mistakes if one not in store.mistakes),
        mended=tuple(one for one in store.mistakes if one not in reading.mistakes),
    )


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
