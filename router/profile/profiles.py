"""Profiles as the rest of the router has them: values that never change, and which of them serves an address."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, Self
from uuid import UUID

from router.model import CreationRule, Key, Rule, ServedProfile
from router.model.return_path import return_path
from router.profile.files import Stamp
from router.profile.keys import Rate, Start
from router.profile.routes import Routes, RouteTable
from transports import (
    NO_TOKENS,
    IncomingKind,
    ListenerKind,
    ListenerSettings,
    MailboxKind,
    MailboxSettings,
    OutgoingKind,
    RelaySettings,
    Tokens,
)
from transports.base import Account, After, Finding, Listener, Relay, Sender


def account_of(kind: IncomingKind, settings: MailboxSettings | ListenerSettings, mailbox: str) -> str:
    """See `IncomingProfile.account_of`."""
    where = settings.listen if isinstance(settings, ListenerSettings) else settings.account_of(mailbox)
    return f"{kind.name}:{where}"


@dataclass(frozen=True, slots=True)
class IncomingProfile:
    """Where mail comes from. `file` and `line` say where it is written, `tracking_rule` serves owners without one.

    Profiles are equal that do the same, wherever they are written. `files` tells the state of the certificates that it
    names, so that renewed ones make another profile.

    With the role `forward` it has no `owners`, but `forwarders`; with `catch-all` these are whose mail it has. A
    listener has the `address` that is forwarded to, and without `authserv` nobody has to vouch for a forwarder. In a
    catch-all mailbox the header `envelope_header` tells whose mail it is, below `envelope_below` lines of Received.
    `chosen` are the settings of tracking that it says, `creation_rules` its rules for records from mail, in order.
    """

    name: str
    kind: IncomingKind
    owners: tuple[str, ...]
    tracking_rule: Rule
    start: Start
    after: After
    settings: MailboxSettings | ListenerSettings
    file: str = field(compare=False)
    line: int = field(compare=False)
    authserv: str | None = None
    role: Literal["mailbox", "forward", "catch-all"] = "mailbox"
    forwarders: tuple[str, ...] = ()
    address: str | None = None
    envelope_header: str = "Delivered-To"
    envelope_below: int = 0
    files: tuple[Stamp, ...] = ()
    tokens: Tokens = field(default=NO_TOKENS, compare=False, repr=False)
    chosen: tuple[tuple[str, str], ...] = ()
    creation_rules: tuple[CreationRule, ...] = ()

    @property
    def choices(self) -> Mapping[str, str]:
        """The settings of tracking that it says, by their names."""
        return dict(self.chosen)

    @property
    def as_opened(self) -> Self:
        """The profile without what may change while its connections stay: whose mail it brings."""
        return replace(self, owners=())

    @property
    def key(self) -> Key:
        """What it is known by."""
        return "incoming", self.name

    @property
    def title(self) -> str:
        """The profile as TOML names it."""
        return f"[incoming.{self.name}]"

    @property
    def forwards(self) -> bool:
        """Whether it brings the mail of several owners out of one mailbox, which is nobody's."""
        return self.role != "mailbox"

    @property
    def catches_all(self) -> bool:
        """Whether that mailbox has the original mail, as the mail server put it there, and not what was forwarded."""
        return self.role == "catch-all"

    @property
    def has_forwards_alone(self) -> bool:
        """Whether the originals of its mail are elsewhere: it is a forward mailbox."""
        return self.role == "forward"

    @property
    def listens(self) -> bool:
        """Whether mail is handed to it; otherwise it reads mailboxes."""
        return isinstance(self.kind, ListenerKind)

    @property
    def appends(self) -> bool:
        """Whether messages can be put into the mailboxes that it reads."""
        return isinstance(self.kind, MailboxKind) and self.kind.appends

    @property
    def keeps_original(self) -> bool:
        """Whether mail that the rule ignores exists elsewhere: only a listener can be handed the last copy."""
        return not isinstance(self.settings, ListenerSettings) or self.settings.keeps_original

    def account_of(self, mailbox: str) -> str:
        """Name the account in which a mailbox lies, or a forward mailbox ("") does; of a listener, where it listens.

        It is the same whatever the profile is called. Of one account, another may be the same under another name.
        """
        return account_of(self.kind, self.settings, mailbox)

    def open(self, mailbox: str) -> Account:
        """Make a reader of one mailbox, which connects when it is entered; only where it does not listen."""
        assert isinstance(self.kind, MailboxKind)
        return self.kind.open(self.settings, mailbox, self.after, self.tokens)

    def listen(self) -> Listener:
        """Make the listener, which binds when it is entered; only where it listens."""
        assert isinstance(self.kind, ListenerKind)
        return self.kind.open(self.settings)

    def probe(self, mailbox: str | None) -> AsyncIterator[Finding]:
        """Try everything that reading this mailbox needs, or listening. Never raises a TransportError.

        Without a mailbox it ends before the login; for a listener it makes no difference.
        """
        if isinstance(self.kind, MailboxKind):
            return self.kind.probe(self.settings, mailbox, self.after, self.tokens)
        return self.kind.probe(self.settings)


@dataclass(frozen=True, slots=True)
class OutgoingProfile:
    """Where mail goes. Profiles are equal that do the same, wherever they are written; `files` as of incoming ones."""

    name: str
    kind: OutgoingKind
    senders: tuple[str, ...]
    max_attempts: int | None
    on_unknown: str
    settings: RelaySettings
    file: str = field(compare=False)
    line: int = field(compare=False)
    files: tuple[Stamp, ...] = ()
    give_up_after: timedelta = timedelta(days=5)
    rate: Rate | None = None
    sent_copy: Literal["append", "server", "none"] = "append"
    max_size: int = 0
    return_path: str | None = None
    tokens: Tokens = field(default=NO_TOKENS, compare=False, repr=False)

    @property
    def as_opened(self) -> Self:
        """The profile without what may change while its connections stay: whose mail it carries, how often it tries."""
        return replace(
            self,
            senders=(),
            max_attempts=None,
            on_unknown="",
            give_up_after=timedelta(0),
            rate=None,
            sent_copy="append",
            max_size=0,
            return_path=None,
        )

    @property
    def key(self) -> Key:
        """What it is known by."""
        return "outgoing", self.name

    @property
    def title(self) -> str:
        """The profile as TOML names it."""
        return f"[outgoing.{self.name}]"

    def sender_of(self, mailbox: str, attempt_id: UUID) -> str:
        """Name the return path of an attempt to send what is of this mailbox: where reports on it go."""
        return return_path(self.return_path, attempt_id) if self.return_path else mailbox

    def open(self) -> Relay:
        """Make the relay, which connects when it first sends."""
        return self.kind.open(self.settings, self.tokens)

    def probe(self, senders: Sequence[str]) -> AsyncIterator[Finding]:
        """Try everything that sending needs, in the name of these too, and send nothing.

        Never raises a TransportError.
        """
        asked = dict.fromkeys(Sender(sender, self.sender_of(sender, UUID(int=0))) for sender in senders)
        return self.kind.probe(self.settings, list(asked), self.tokens)


Profile = IncomingProfile | OutgoingProfile


class Profiles:
    """All profiles, and which of them serves an address: the one with the most exact pattern that matches it.

    `broken` are those that cannot run, and keep what they claim from the others. Where not even their claims are all
    known, as in a file that is not TOML, `obscure` is True.
    """

    def __init__(
        self,
        incoming: Iterable[IncomingProfile],
        outgoing: Iterable[OutgoingProfile],
        broken: Iterable[ServedProfile] = (),
        *,
        obscure: bool = False,
    ) -> None:
        self.incoming = tuple(incoming)
        self.outgoing = tuple(outgoing)
        self.broken = tuple(broken)
        self.obscure = obscure
        self._table = RouteTable(self.incoming, self.outgoing, self.broken)

    def __bool__(self) -> bool:
        """Whether there is any profile that can run."""
        return bool(self.incoming or self.outgoing)

    def with_tokens(self, tokens: Tokens) -> Self:
        """Return the same profiles, whose logins have their access tokens there."""
        return type(self)(
            (replace(one, tokens=tokens) for one in self.incoming),
            (replace(one, tokens=tokens) for one in self.outgoing),
            self.broken,
            obscure=self.obscure,
        )

    @property
    def by_key(self) -> Mapping[Key, Profile]:
        """All of them, those of the incoming direction first."""
        every: tuple[Profile, ...] = (*self.incoming, *self.outgoing)
        return {profile.key: profile for profile in every}

    @property
    def shared_accounts(self) -> AbstractSet[str]:
        """The accounts that belong to no owner: those of forward mailboxes and of listeners."""
        return {one.account_of("") for one in self.incoming if one.forwards or one.listens}

    def routes_of(self, mailbox: str) -> Routes[IncomingProfile, OutgoingProfile]:
        """Find all the profiles that serve a mailbox."""
        return self._table.find(mailbox)

    def incoming_for(self, mailbox: str) -> IncomingProfile | None:
        """Find the profile that reads an owner's mailbox."""
        return self._table.reads.find(mailbox)

    def listener_for(self, address: str) -> IncomingProfile | None:
        """Find the listener that takes an owner's mail. An owner may have it beside a mailbox that is read."""
        return self._table.listens.find(address)

    def outgoing_for(self, address: str) -> OutgoingProfile | None:
        """Find the profile that carries what this address sends."""
        return self._table.sends.find(address)
