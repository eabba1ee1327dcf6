"""How mail is fetched, accepted and sent. Knows mail; knows nothing of CRM, owners or SQL.

A transport is one file or one folder of this package, named as the `transport` of a TOML profile. What it can do it
says by two names: `INCOMING`, a kind of mailbox or of listener, and `OUTGOING`, a kind of relay (see
transports/_kinds.py). `base`, `errors` and what begins with an underscore are no kinds, but shared by several.
`load` is the only door.
"""

import functools
import importlib
import pkgutil
from dataclasses import dataclass
from typing import Final

from transports._batches import batches
from transports._kinds import IncomingKind, ListenerKind, MailboxKind, OutgoingKind, RelayKind
from transports._net.credentials import NO_TOKENS, NoToken, Tokens
from transports._net.oauth2 import OAuth2
from transports._net.secret import Secret, is_of_mailbox
from transports._net.tls import client_context, no_connection, valid_until
from transports._settings import (
    ListenerSettings,
    MailboxSettings,
    RelayServerSettings,
    RelaySettings,
    ServerSettings,
    Settings,
)

__all__ = [
    "NO_TOKENS",
    "IncomingKind",
    "ListenerKind",
    "ListenerSettings",
    "MailboxKind",
    "MailboxSettings",
    "NoToken",
    "OAuth2",
    "OutgoingKind",
    "RelayKind",
    "RelayServerSettings",
    "RelaySettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "Tokens",
    "Transport",
    "batches",
    "client_context",
    "is_of_mailbox",
    "kinds",
    "load",
    "no_connection",
    "valid_until",
]

_NO_KINDS: Final = frozenset({"base", "errors"})


@dataclass(frozen=True, slots=True)
class Transport:
    """What one kind of transport offers; `None` for a direction it does not serve."""

    name: str
    incoming: IncomingKind | None
    outgoing: OutgoingKind | None


@functools.cache
def kinds() -> tuple[str, ...]:
    """Name every kind of transport there is, sorted: each is a file or a folder of this package."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if name not in _NO_KINDS and not name.startswith("_")))


def load(name: str) -> Transport:
    """Import one kind. Raises KeyError for a name that is not among `kinds()`."""
    if name not in kinds():
        raise KeyError(name)
    module = importlib.import_module(f"{__name__}.{name}")
    return Transport(name, getattr(module, "INCOMING", None), getattr(module, "OUTGOING", None))
