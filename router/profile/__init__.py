"""The profiles: where mail comes from and where it goes, read from TOML into values that never change.

Every mistake of every file is told at once, with the file and the line where it stands. What one file holds is read by
router/profile/draft.py; what several profiles may not do together is looked at here.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Literal

import transports
from router.errors import Mistake, ProfileErrors
from router.model import Rule
from router.profile import draft as drafts
from router.profile.draft import Draft
from router.profile.keys import IncomingKeys, OutgoingKeys, Start
from router.profile.patterns import Routes, exactness, overlap
from transports import (
    IncomingKind,
    ListenerKind,
    ListenerSettings,
    MailboxKind,
    MailboxSettings,
    OutgoingKind,
    RelayKind,
    RelaySettings,
)
from transports.base import Account, After, Finding, Listener, Relay

__all__ = ["IncomingProfile", "OutgoingProfile", "Profiles", "check_owners", "example", "load"]


_ADVICE = '"email-router profile example KIND" prints one to begin with'


@dataclass(frozen=True, slots=True)
class IncomingProfile:
    """Where mail comes from. `file` and `line` say where it is written, `tracking_rule` serves owners without one.

    With the role `forward` it has no `owners`, but `forwarders`; a listener has the `address` that is forwarded to, and
    without `authserv` nobody has to vouch for a forwarder.
    """

    name: str
    kind: IncomingKind
    owners: tuple[str, ...]
    tracking_rule: Rule
    start: Start
    after: After
    settings: MailboxSettings | ListenerSettings
    file: str
    line: int
    authserv: str | None = None
    role: Literal["mailbox", "forward"] = "mailbox"
    forwarders: tuple[str, ...] = ()
    address: str | None = None

    @property
    def forwards(self) -> bool:
        """Whether what it brings was forwarded from the owners' own mailboxes."""
        return self.role == "forward"

    @property
    def listens(self) -> bool:
        """Whether mail is handed to it; otherwise it reads mailboxes."""
        return isinstance(self.kind, ListenerKind)

    def open(self, mailbox: str) -> Account:
        """Make a reader of one mailbox, which connects when it is entered; only where it does not listen."""
        assert isinstance(self.kind, MailboxKind)
        return self.kind.open(self.settings, mailbox, self.after)

    def listen(self) -> Listener:
        """Make the listener, which binds when it is entered; only where it listens."""
        assert isinstance(self.kind, ListenerKind)
        return self.kind.open(self.settings)

    def probe(self, mailbox: str | None) -> AsyncIterator[Finding]:
        """Try everything that reading this mailbox needs, or listening. Never raises a TransportError.

        Without a mailbox it ends before the login; for a listener it makes no difference.
        """
        if isinstance(self.kind, MailboxKind):
            return self.kind.probe(self.settings, mailbox, self.after)
        return self.kind.probe(self.settings)


@dataclass(frozen=True, slots=True)
class OutgoingProfile:
    """Where mail goes."""

    name: str
    kind: OutgoingKind
    senders: tuple[str, ...]
    max_attempts: int
    on_unknown: str
    settings: RelaySettings
    file: str
    line: int

    def open(self) -> Relay:
        """Make the relay, which connects when it first sends."""
        return self.kind.open(self.settings)

    def probe(self) -> AsyncIterator[Finding]:
        """Try everything that sending needs, and send nothing. Never raises a TransportError."""
        return self.kind.probe(self.settings)


class Profiles:
    """All profiles, and which of them serves an address: the one with the most exact pattern that matches it."""

    def __init__(self, incoming: Iterable[IncomingProfile], outgoing: Iterable[OutgoingProfile]) -> None:
        self.incoming = tuple(incoming)
        self.outgoing = tuple(outgoing)
        self._mailboxes = Routes((owner, one) for one in self.incoming if not one.listens for owner in one.owners)
        self._listeners = Routes((owner, one) for one in self.incoming if one.listens for owner in one.owners)
        self._forwards = Routes((pattern, one) for one in self.incoming for pattern in one.forwarders)
        self._relays = Routes((sender, one) for one in self.outgoing for sender in one.senders)

    def incoming_for(self, mailbox: str) -> IncomingProfile | None:
        """Find the profile that reads an owner's mailbox."""
        return self._mailboxes.find(mailbox)

    def listener_for(self, address: str) -> IncomingProfile | None:
        """Find the listener that takes an owner's mail. An owner may have it beside a mailbox that is read."""
        return self._listeners.find(address)

    def forward_for(self, address: str) -> IncomingProfile | None:
        """Find a forward mailbox to which an owner may forward mail. An owner may have it beside all others."""
        return self._forwards.find(address)

    def outgoing_for(self, address: str) -> OutgoingProfile | None:
        """Find the profile that carries what this address sends."""
        return self._relays.find(address)


def load(folder: Path) -> Profiles:
    """Read every `*.toml` of the folder. Raises ProfileErrors with all that is wrong."""
    found: list[Draft] = []
    mistakes: list[Mistake] = []
    for file in _files(folder):
        try:
            if not S_ISREG(file.stat().st_mode):  # a pipe would keep us waiting
                mistakes.append(Mistake(file.name, 0, "this is no file: move it away, or give it another name"))
                continue
            content = file.read_bytes()
        except OSError as error:
            mistakes.append(Mistake(file.name, 0, f"the file cannot be read: {error.strerror}"))
            continue
        read, wrong = drafts.read(file.name, content)
        found += read
        mistakes += wrong
    unique = _check_names(found)
    _check_addresses(one for one in unique if one.listens)
    _check_patterns(one for one in unique if one.listens)
    _check_patterns(one for one in unique if one.reads)
    _check_patterns(one for one in unique if one.direction == "outgoing")
    mistakes += [mistake for one in found for mistake in one.mistakes]
    if not found and not mistakes:
        mistakes.append(Mistake(str(folder), 0, f"there is no profile in this folder: put one in; {_ADVICE}"))
    if mistakes:
        raise ProfileErrors(mistakes)
    return Profiles(
        [_incoming(one) for one in found if one.direction == "incoming"],
        [_outgoing(one) for one in found if one.direction == "outgoing"],
    )


def check_owners(profiles: Profiles, owners: Iterable[tuple[str | None, bool, str | None]]) -> list[Mistake]:
    """Check the profiles against the database's owners, each (mailbox, approved, tracking_rule).

    Told are owners whom nobody serves, and owners whose own rule would lose mail at a listener that keeps it alone.
    Owners without mailbox or approval are left out, since nothing of theirs is read.
    """
    mistakes = []
    for mailbox, approved, rule in owners:
        if mailbox is None or not approved:
            continue
        listener = profiles.listener_for(mailbox)
        if listener is None and profiles.incoming_for(mailbox) is None and profiles.forward_for(mailbox) is None:
            words = f"owner {mailbox}: no incoming profile serves this mailbox; add it to the owners of one"
            mistakes.append(Mistake("", 0, words))
        if listener is None or not isinstance(listener.settings, ListenerSettings):
            continue
        effective = rule or listener.tracking_rule
        if effective != Rule.ALL and not listener.settings.keeps_original:
            words = (
                f'[incoming.{listener.name}] copy must be true, because owner {mailbox} has the rule "{effective}" and '
                "what it ignores would be lost: say copy = true if the mail server keeps the original, or give the "
                'owner the rule "all"'
            )
            mistakes.append(Mistake(listener.file, listener.line, words))
    return mistakes


def example(kind: str) -> str:
    """Return the example profile of a transport, as TOML. Raises KeyError for a kind that there is not."""
    if kind not in transports.kinds():
        raise KeyError(kind)
    package = Path(__file__).parents[1]
    installed = package / "examples" / f"{kind}.toml"
    checkout = package.parent / "profiles" / f"{kind}.toml"
    return (installed if installed.exists() else checkout).read_text(encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    try:
        # A name that begins with a dot is an editor's, or a mount's.
        return sorted(file for file in folder.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))
    except FileNotFoundError:
        words = f"there is no such folder: make it and put a profile in; {_ADVICE}"
    except NotADirectoryError:
        words = "that is a file: name the folder in which the profiles are"
    except OSError as error:
        words = f"the folder cannot be read: {error.strerror}"
    raise ProfileErrors([Mistake(str(folder), 0, words)])


def _check_names(found: Iterable[Draft]) -> list[Draft]:
    """Return the drafts whose name is theirs alone, or who had it first."""
    first: dict[tuple[str, str], Draft] = {}
    for one in found:
        other = first.setdefault((one.direction, one.name), one)
        if other is not one:
            one.wrong((), f"there is a profile of this name in {other.file}:{other.line}: give it another name")
    return list(first.values())


def _check_addresses(listeners: Iterable[Draft]) -> None:
    taken: list[tuple[str, Draft]] = []
    for one in listeners:
        address = one.table.get("listen")
        if not isinstance(address, str):
            continue
        for other_address, other in taken:
            if _clash(address, other_address):
                where = f"{other.title} ({other.file}:{other.line})"
                one.wrong(("listen",), f'listen: "{address}" is taken by {where}')
                break
        else:
            taken.append((address, one))


def _clash(one: str, other: str) -> bool:
    """Whether two addresses are one, or one of them is every address of the machine at the other's port."""
    host, _, port = one.rpartition(":")
    other_host, _, other_port = other.rpartition(":")
    everywhere = "[::]" if host.startswith("[") else "0.0.0.0"  # noqa: S104  # nothing is bound here
    same_family = host.startswith("[") == other_host.startswith("[")
    return one == other or (port == other_port and same_family and everywhere in (host, other_host))


def _check_patterns(group: Iterable[Draft]) -> None:
    """No address may belong to two profiles equally: whichever it is, its mail would go another way some day."""
    addresses: dict[str, Draft] = {}
    globs: list[tuple[str, Draft]] = []
    for one in group:
        for path, pattern in _patterns(one):
            if "*" not in pattern:
                rivals = [(pattern, addresses.setdefault(pattern, one))]
            else:
                rivals = [(glob, other) for glob, other in globs if exactness(glob) == exactness(pattern)]
                globs.append((pattern, one))
            for rival, other in rivals:
                if other is not one and overlap(rival, pattern):
                    where = f"{other.title} ({other.file}:{other.line})"
                    says = "" if rival == pattern else f'"{rival}" of '
                    one.wrong(path, f'{path[0]}: "{pattern}" is claimed as exactly by {says}{where}')


def _patterns(one: Draft) -> Iterator[tuple[tuple[str, int], str]]:
    if isinstance(one.keys, IncomingKeys):
        yield from ((("owners", index), pattern) for index, pattern in enumerate(one.keys.owners))
    elif one.keys is not None:
        yield from ((("senders", index), pattern) for index, pattern in enumerate(one.keys.senders))


def _incoming(one: Draft) -> IncomingProfile:
    assert isinstance(one.keys, IncomingKeys)
    assert isinstance(one.kind, (MailboxKind, ListenerKind))
    assert isinstance(one.settings, (MailboxSettings, ListenerSettings))
    said = one.keys.model_fields_set
    begins: Start = "all"
    settles = After("keep")
    if isinstance(one.kind, MailboxKind):
        settles = one.kind.settles
        if one.keys.role != "forward":
            begins = one.kind.begins
    return IncomingProfile(
        name=one.name,
        kind=one.kind,
        owners=one.keys.owners,
        tracking_rule=one.keys.rule,
        start=one.keys.start if "start" in said else begins,
        after=one.keys.after if "after" in said else settles,
        settings=one.settings,
        file=one.file,
        line=one.line,
        authserv=one.keys.authserv,
        role=one.keys.role,
        forwarders=one.keys.forwarders,
        address=one.keys.address,
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
        on_unknown=one.keys.on_unknown,
        settings=one.settings,
        file=one.file,
        line=one.line,
    )
