"""The profiles that are in use, and word of each change: added, changed, broken, removed, or a secret replaced.

A profile that is broken keeps its old form, and so do all of a file that cannot be read: what runs goes on, and what is
wrong is told. A folder that lost something is read once more after a moment, since editors save in several steps.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import structlog

from router.errors import Mistake, ProfileErrors
from router.profile.files import Stamp, certificates, secrets, stamp
from router.profile.folder import Reading, read_folder
from router.profile.profiles import Key, Profile, Profiles
from router.profile.watch import stirs

SECOND_LOOK: Final = 0.4
"""Seconds after which a folder that lost something is read once more."""

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


class ProfileStore:
    """The current profiles of a folder; `mistakes` are why others are not used, or an old form is.

    `faults` says of each profile that keeps its old form why; `notes` are of files that are not read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profiles = Profiles((), ())
        self.mistakes: tuple[Mistake, ...] = ()
        self.notes: tuple[Mistake, ...] = ()
        self.faults: Mapping[Key, str] = {}
        self._stamps: dict[Path, Stamp] = {}

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Read the folder for the first time. Nothing is raised: what is wrong is among the `mistakes`."""
        store = cls(folder)
        await store._look()
        return store

    def log_mistakes(self) -> None:
        """Say in the log what is wrong, and which files are not read."""
        _log_change(Change(broken=self.mistakes))
        for note in self.notes:
            _log.warning(str(note))

    async def watch(self, tell: Callable[[Change], Awaitable[None]]) -> None:
        """Tell of each change, within two seconds, until cancelled."""
        async for _ in stirs(self._folders):
            change = await self._look()
            if change:
                _log_change(change)
                await tell(change)

    async def _look(self) -> Change:
        """Read the folder again if a file has changed, and say what differs."""
        stamps = await asyncio.to_thread(self._read_stamps)
        # What is wrong may end without a change of a file that we know: a secret that a profile lacked is there.
        if stamps == self._stamps and not self.mistakes:
            return Change()
        reading = await self._read()
        replaced = [one for one in self.profiles.by_key.values() if self._is_replaced(secrets(one.settings), stamps)]
        change = _change(self, reading, replaced)
        self.profiles, self.mistakes, self.notes = reading.profiles, reading.mistakes, reading.notes
        self.faults = {key: _why_kept(reading, reading.profiles.by_key[key]) for key in reading.kept}
        # Those from before the reading, so that what changed meanwhile is seen at the next look; the others are new.
        self._stamps = await asyncio.to_thread(self._read_stamps) | stamps
        return change

    async def _read(self) -> Reading:
        reading = await asyncio.to_thread(_read_folder, self.folder, self.profiles)
        if not reading.kept and self.profiles.by_key.keys() <= reading.profiles.by_key.keys():
            return reading
        await _sleep(SECOND_LOOK)
        return await asyncio.to_thread(_read_folder, self.folder, self.profiles)

    def _is_replaced(self, files: Iterable[Path], stamps: dict[Path, Stamp]) -> bool:
        return any(self._stamps.get(path) != stamps.get(path) for path in files)

    def _named(self) -> set[Path]:
        every = self.profiles.by_key.values()
        return {path for one in every for path in (*certificates(one.settings), *secrets(one.settings))}

    def _read_stamps(self) -> dict[Path, Stamp]:
        paths = self._named()
        with suppress(OSError):
            paths.update(self.folder.iterdir())
        return {path: stamp(path) for path in (self.folder, *paths)}

    async def _folders(self) -> Collection[Path]:
        """Where a change may be: the folder itself, and those of secrets and certificates, as far as they are there."""
        folders = {self.folder, *(path.parent for path in self._named())}
        return await asyncio.to_thread(lambda: {folder for folder in folders if folder.is_dir()})


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


def _log_change(change: Change) -> None:
    events = {
        "profile added": change.added,
        "profile changed": change.changed,
        "profile removed": change.removed,
        "a secret was replaced": change.secrets,
    }
    for event, keys in events.items():
        for direction, name in keys:
            _log.info(event, profile=f"{direction}.{name}")
    for mistake in change.broken:
        _log.error("a profile is broken: its old form stays in use, where it has one", mistake=str(mistake))
    for mistake in change.mended:
        _log.info("a mistake in the profiles is mended", mistake=str(mistake))
