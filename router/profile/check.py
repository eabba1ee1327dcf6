"""What profiles may not do together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from router.model import Key
from router.profile.draft import Draft
from router.profile.keys import IncomingKeys, OutgoingKeys
from router.profile.lines import KeyPath
from router.profile.patterns import exactness, overlap
from router.profile.profiles import OutgoingProfile, Profile, account_of
from transports import ListenerSettings, MailboxKind, MailboxSettings

_GROUPS = {False: "owners of mailboxes", True: "owners at listeners"}
"""By whether a profile listens: an owner may have a listener beside a mailbox that is read."""


def check_names(found: Iterable[Draft]) -> dict[Key, Draft]:
    """Return the first draft of each name; every other draft of that name gets a mistake."""
    first: dict[Key, Draft] = {}
    for draft in found:
        other = first.setdefault(draft.key, draft)
        if other is not draft:
            draft.wrong((), f"there is a profile of this name in {other.file}:{other.line}: give it another name")
    return first


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one profile claims: an address to listen at, the account of a forward mailbox, and patterns.

    Patterns it claims only among the profiles of its group.
    """

    key: Key
    where: str
    listen: str | None
    forwarded: str | None
    group: str
    patterns: Sequence[str]


class Claims:
    """What several profiles claim, each for itself alone."""

    def __init__(self, running: Iterable[Profile]) -> None:
        self._listening: list[_Claim] = []
        self._forwarded: dict[str, _Claim] = {}
        self._exact: dict[tuple[str, str], _Claim] = {}
        self._globs: defaultdict[tuple[str, object], list[tuple[str, _Claim]]] = defaultdict(list)
        for profile in running:
            self._add(_of_profile(profile))

    def add(self, draft: Draft) -> None:
        """Add what a draft claims."""
        self._add(_of_draft(draft))

    def _add(self, claim: _Claim) -> None:
        if claim.listen is not None:
            self._listening.append(claim)
        if claim.forwarded is not None:
            self._forwarded.setdefault(claim.forwarded, claim)
        for pattern in claim.patterns:
            if "*" in pattern:
                self._globs[claim.group, exactness(pattern)].append((pattern, claim))
            else:
                self._exact.setdefault((claim.group, pattern), claim)

    def rivals(self, draft: Draft) -> Iterator[tuple[KeyPath, str]]:
        """Yield each claim of the draft that another profile has: the key's path in the table, and words."""
        mine = _of_draft(draft)
        for other in self._listening:
            if mine.listen is not None and other.key != mine.key and _clash(mine.listen, other.listen or ""):
                yield ("listen",), f'listen: "{mine.listen}" is taken by {other.where}'
                break
        reader = self._forwarded.get(mine.forwarded) if mine.forwarded is not None else None
        if reader is not None and reader.key != mine.key:
            yield (), f"reads the same mailbox as {reader.where}: let one profile read all its folders"
        name = "senders" if mine.key[0] == "outgoing" else "owners"
        for index, pattern in enumerate(mine.patterns):
            for rival, other in self._rivals(mine.group, pattern):
                if other.key != mine.key:
                    says = "" if rival == pattern else f'"{rival}" of '
                    yield (name, index), f'{name}: "{pattern}" is claimed as exactly by {says}{other.where}'

    def _rivals(self, group: str, pattern: str) -> Iterator[tuple[str, _Claim]]:
        """Find equally exact patterns that overlap: which profile serves an address of both would be chance."""
        if "*" not in pattern:
            if (group, pattern) in self._exact:
                yield pattern, self._exact[group, pattern]
            return
        for rival, claim in self._globs[group, exactness(pattern)]:
            if overlap(rival, pattern):
                yield rival, claim


def _of_draft(draft: Draft) -> _Claim:
    listen = draft.table.get("listen") if draft.listens else None
    patterns: Sequence[str] = ()
    if isinstance(draft.keys, OutgoingKeys):
        patterns = draft.keys.senders
    elif draft.keys is not None and draft.kind is not None:
        patterns = draft.keys.owners
    return _Claim(
        key=draft.key,
        where=f"{draft.title} ({draft.file}:{draft.line})",
        listen=listen if isinstance(listen, str) else None,
        forwarded=_forwarded(draft),
        group="senders" if draft.direction == "outgoing" else _GROUPS[draft.listens],
        patterns=patterns,
    )


def _forwarded(draft: Draft) -> str | None:
    if not isinstance(draft.keys, IncomingKeys) or draft.keys.role == "mailbox":
        return None
    if not isinstance(draft.kind, MailboxKind) or not isinstance(draft.settings, MailboxSettings):
        return None
    return account_of(draft.kind, draft.settings, "")


def _of_profile(profile: Profile) -> _Claim:
    where = f"{profile.title} as it still runs"
    if isinstance(profile, OutgoingProfile):
        return _Claim(profile.key, where, None, None, "senders", profile.senders)
    listen = profile.settings.listen if isinstance(profile.settings, ListenerSettings) else None
    forwarded = profile.account_of("") if profile.forwards and not profile.listens else None
    return _Claim(profile.key, where, listen, forwarded, _GROUPS[profile.listens], profile.owners)


def _clash(one: str, other: str) -> bool:
    """Whether two listeners cannot both bind: the addresses are equal, or one is all addresses with the same port."""
    host, _, port = one.rpartition(":")
    other_host, _, other_port = other.rpartition(":")
    everywhere = "[::]" if host.startswith("[") else "0.0.0.0"  # noqa: S104  # nothing is bound here
    same_family = host.startswith("[") == other_host.startswith("[")
    return one == other or (port == other_port and same_family and everywhere in (host, other_host))
