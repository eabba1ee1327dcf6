"""A kind of transport as a value: its settings, and what can be done with them.

Settings are data and know nothing of what reads them. Each kind's package puts the two together:

    INCOMING = MailboxKind("imap", settings=ImapSettings, open=ImapAccount, probe=probe_mailbox)
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

from transports._net.credentials import Tokens
from transports._settings import ListenerSettings, MailboxSettings, RelaySettings
from transports.base import Account, Action, After, Finding, Listener, Relay, Sender

KEEP = After("keep")

_Mailbox = TypeVar("_Mailbox", bound=MailboxSettings)
_Listener = TypeVar("_Listener", bound=ListenerSettings)
_Relay = TypeVar("_Relay", bound=RelaySettings)


@dataclass(frozen=True, slots=True)
class MailboxKind(Generic[_Mailbox]):
    """A kind of mailbox that is read.

    `open(settings, mailbox, after, tokens)` makes a reader of one mailbox, which connects when it is entered and
    settles copies as `after` says. `probe(settings, mailbox, after, tokens)` tries everything that reading needs, and
    `after`, as far as that changes nothing; without a mailbox it ends before the login. It never raises a
    TransportError, and each of its steps lasts `timeout` at most.
    """

    name: str
    settings: type[_Mailbox]
    open: Callable[[_Mailbox, str, After, Tokens], Account]
    probe: Callable[[_Mailbox, str | None, After, Tokens], AsyncIterator[Finding]]
    actions: frozenset[Action] = frozenset(get_args(Action))
    """What the profile's `after` may be: what can be done to a copy that is done with."""
    appends: bool = False
    """Whether messages can be put into its folders: each is a WritableMailbox."""
    default_start: Literal["now", "all"] = "now"
    """The profile's `start`, if it does not say: where a source begins."""
    default_after: After = KEEP
    """The profile's `after`, if it does not say: what happens to promoted mail."""


@dataclass(frozen=True, slots=True)
class ListenerKind(Generic[_Listener]):
    """A kind of listener, to which mail is handed.

    `open(settings)` makes the listener, which binds when it is entered. `probe(settings)` tries whether it can listen,
    or does already; it never raises a TransportError.
    """

    name: str
    settings: type[_Listener]
    open: Callable[[_Listener], Listener]
    probe: Callable[[_Listener], AsyncIterator[Finding]]


@dataclass(frozen=True, slots=True)
class RelayKind(Generic[_Relay]):
    """A kind of relay, which carries mail away.

    `open(settings, tokens)` makes the relay, which connects when it first sends. `probe(settings, senders, tokens)`
    tries everything that sending needs, in the name of these too, and sends nothing; it never raises a TransportError.
    """

    name: str
    settings: type[_Relay]
    open: Callable[[_Relay, Tokens], Relay]
    probe: Callable[[_Relay, Sequence[Sender], Tokens], AsyncIterator[Finding]]


IncomingKind: TypeAlias = MailboxKind[Any] | ListenerKind[Any]
OutgoingKind: TypeAlias = RelayKind[Any]
