"""Reads a folder of profiles: the sound ones, and every mistake of every file at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import Final

from router.errors import Mistake, ProfileErrors
from router.model import Key
from router.model.settings import SETTINGS
from router.profile import draft as drafts
from router.profile.check import Claims, check_names
from router.profile.claim import claim_of, is_whole
from router.profile.draft import Draft
from router.profile.files import certificates, stamp
from router.profile.keys import IncomingKeys, OutgoingKeys, Start
from router.profile.profiles import IncomingProfile, OutgoingProfile, Profile, Profiles
from router.profile.rules import rules_from
from transports import ListenerKind, ListenerSettings, MailboxKind, MailboxSettings, RelayKind, RelaySettings
from transports.base import After

_ADVICE: Final = '"email-router profile example KIND" prints one to begin with'
_LIKE_TOML: Final = {".conf", ".cfg", ".ini", ".tml", ".yaml", ".yml"}
_NONE: Final = Profiles((), ())


@dataclass(frozen=True, slots=True)
class Reading:
    """What a folder holds.

    profiles    those that can run together: the sound ones, and those of `kept`; beside them, what the others claim
    mistakes    all of them, ordered by file and line
    notes       no mistakes: files that look like profiles and are not read, ordered by name
    broken      the mistakes of each profile that cannot run as it is written
    kept        profiles that ran, and are broken now or no longer found in an unclear file: they stay as they were
    unclear     files that may hold profiles which could not be found there, such as one that is not TOML
    drafts      all that was found, sound or not
    """

    profiles: Profiles
    mistakes: tuple[Mistake, ...]
    notes: tuple[Mistake, ...]
    broken: Mapping[Key, tuple[Mistake, ...]]
    kept: frozenset[Key]
    unclear: frozenset[str]
    drafts: tuple[Draft, ...]

    @property
    def strays(self) -> list[Mistake]:
        """The mistakes that are of no profile, such as those of a file that is not TOML."""
        return [one for one in self.mistakes if not any(one in wrong for wrong in self.broken.values())]


def load(folder: Path) -> Profiles:
    """Read every `*.toml` of the folder. Raises ProfileErrors with all that is wrong."""
    reading = read_folder(folder)
    if reading.mistakes:
        raise ProfileErrors(reading.mistakes)
    return reading.profiles


def read_folder(folder: Path, running: Profiles = _NONE) -> Reading:
    """Read every `*.toml` of the folder; a mistake in one profile does not keep the others from running.

    A profile that is `running` and is now broken, or is no longer found in a file that is unclear, is kept as it was.
    Of two profiles that cannot run together, the new one is broken; else the changed one; else the later one.
    Raises ProfileErrors if the folder cannot be read.
    """
    found: list[Draft] = []
    strays: list[Mistake] = []  # mistakes that belong to no profile
    notes: list[Mistake] = []
    for file in _files(folder):
        if file.suffix != ".toml":
            notes += _note(file)
            continue
        read, wrong = _read(file)
        found += read
        strays += wrong
    unclear = frozenset(mistake.file for mistake in strays)
    profiles, kept = _choose(found, unclear, running)
    mistakes = {*strays, *(mistake for draft in found for mistake in draft.mistakes)}
    if not found and not mistakes:
        mistakes.add(Mistake(str(folder), 0, f"there is no profile in this folder: put one in; {_ADVICE}"))
    broken: dict[Key, tuple[Mistake, ...]] = {}
    for draft in found:
        if draft.mistakes:
            broken[draft.key] = (*broken.get(draft.key, ()), *draft.mistakes)
    return Reading(
        profiles, tuple(sorted(mistakes)), tuple(notes), MappingProxyType(broken), kept, unclear, tuple(found)
    )


def _files(folder: Path) -> list[Path]:
    """Name what lies in the folder, without what begins with a dot: that is an editor's, or a mount's."""
    try:
        return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except FileNotFoundError:
        words = f"there is no such folder: make it and put a profile in; {_ADVICE}"
    except NotADirectoryError:
        words = "that is a file: name the folder in which the profiles are"
    except OSError as error:
        words = f"the folder cannot be read: {error.strerror}"
    raise ProfileErrors([Mistake(str(folder), 0, words)])


def _note(file: Path) -> Iterator[Mistake]:
    """Say of a file that is not read, and looks like a profile, why it is not."""
    name = file.name.lower()
    if (".toml" in name or file.suffix.lower() in _LIKE_TOML) and not name.endswith("~"):
        yield Mistake(file.name, 0, 'not read: the name of a profile file ends in ".toml"')


def _read(file: Path) -> tuple[list[Draft], list[Mistake]]:
    try:
        if not S_ISREG(file.stat().st_mode):  # a pipe would keep us waiting
            return [], [Mistake(file.name, 0, "this is no file: move it away, or give it another name")]
        content = file.read_bytes()
    except OSError as error:
        return [], [Mistake(file.name, 0, f"the file cannot be read: {error.strerror}")]
    return drafts.read(file.name, content)


def _choose(found: Sequence[Draft], unclear: frozenset[str], running: Profiles) -> tuple[Profiles, frozenset[Key]]:
    """Choose the profiles that can run together, and note at each other draft why it cannot.

    Returned with them are the keys of those that are kept as they were.
    """
    old = running.by_key
    sound = {draft: profile_of(draft) for draft in found if not draft.mistakes}

    def rank(draft: Draft) -> int:
        if draft not in sound:
            return 3
        return 2 if draft.key not in old else int(sound[draft] != old[draft.key])

    first = check_names(sorted(found, key=rank))
    kept = {key for key, profile in old.items() if key not in first and profile.file in unclear}
    kept |= {key for key, draft in first.items() if key in old and draft not in sound}
    claims, chosen = _agree([draft for draft in first.values() if draft in sound], old, kept)
    for draft in first.values():
        if draft not in chosen:
            for path, words in list(claims.rivals(draft)):
                draft.wrong(path, words)
            claims.add(draft)
    profiles = [*(sound[draft] for draft in found if draft in chosen), *(old[key] for key in sorted(kept))]
    incoming = [profile for profile in profiles if isinstance(profile, IncomingProfile)]
    outgoing = [profile for profile in profiles if isinstance(profile, OutgoingProfile)]
    idle = [draft for draft in found if draft.mistakes and draft.key not in kept]
    obscure = bool(unclear) or not all(map(is_whole, idle))
    return Profiles(incoming, outgoing, map(claim_of, idle), obscure=obscure), frozenset(kept)


def _agree(candidates: Sequence[Draft], old: Mapping[Key, Profile], kept: set[Key]) -> tuple[Claims, set[Draft]]:
    """Choose, in order, the drafts whose claims are free. A running profile that is refused is added to `kept`."""
    claims = Claims(old[key] for key in kept)
    chosen: set[Draft] = set()
    for draft in candidates:
        if draft.key in kept:
            continue
        if not any(claims.rivals(draft)):
            claims.add(draft)
            chosen.add(draft)
        elif draft.key in old:
            kept.add(draft.key)  # its old claims may have gone to another draft already: choose anew
            return _agree(candidates, old, kept)
    return claims, chosen


def profile_of(draft: Draft) -> Profile:
    """Make the profile of a draft whose keys and settings are understood, whatever else is wrong with it."""
    return _incoming(draft) if draft.direction == "incoming" else _outgoing(draft)


def _incoming(one: Draft) -> IncomingProfile:
    assert isinstance(one.keys, IncomingKeys)
    assert isinstance(one.kind, (MailboxKind, ListenerKind))
    assert isinstance(one.settings, (MailboxSettings, ListenerSettings))
    said = one.keys.model_fields_set
    begins: Start = "all"
    settles = After("keep")
    if isinstance(one.kind, MailboxKind):
        settles = one.kind.default_after
        if one.keys.role != "forward":
            begins = one.kind.default_start
    return IncomingProfile(
        name=one.name,
        kind=one.kind,
        owners=one.keys.owners if one.keys.role != "catch-all" else (),
        tracking_rule=one.keys.rule,
        start=one.keys.start if "start" in said else begins,
        after=one.keys.after if "after" in said else settles,
        settings=one.settings,
        file=one.file,
        line=one.line,
        authserv=one.keys.authserv,
        role=one.keys.role,
        forwarders=one.keys.owners if one.keys.role == "catch-all" else one.keys.forwarders,
        address=one.keys.address,
        envelope_header=one.keys.envelope_header,
        envelope_below=one.keys.envelope_below,
        files=tuple(map(stamp, certificates(one.settings))),
        chosen=tuple((name, value) for name in SETTINGS if name != "rule" and (value := getattr(one.keys, name, None))),
        creation_rules=rules_from(one.keys.create, one.keys.on_new, f"profile {one.name}"),
    )


def _outgoing(one: Draft) -> OutgoingProfile:
    assert isinstance(one.keys, OutgoingKeys)
    assert isinstance(one.kind, RelayKind)
    assert isinstance(one.settings, RelaySettings)
    return OutgoingProfile(
        name=one.name,
        kind=one.kind,
        senders=one.keys.senders,
        max_attempts=one.keys.max_attempts,
        give_up_after=one.keys.give_up_after,
        rate=one.keys.rate,
        max_size=one.keys.max_size,
        return_path=one.keys.return_path,
        on_unknown=one.keys.on_unknown,
        sent_copy=one.keys.sent_copy,
        settings=one.settings,
        file=one.file,
        line=one.line,
        files=tuple(map(stamp, certificates(one.settings))),
    )
