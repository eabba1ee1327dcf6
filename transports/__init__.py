"""How mail is fetched, accepted and sent. Knows mail; knows nothing of CRM, owners or SQL.

A transport is one module of this package: its file name is the `transport` of a TOML profile, and what it can do it
says by two names: `INCOMING`, a settings model that opens mailboxes or a listener, and `OUTGOING`, one that opens
relays. What begins with an underscore is no kind of its own: a folder holds what one kind, or a family, is made of; a
module is shared by several.
"""

import functools
import importlib
import pkgutil
from dataclasses import dataclass

from transports._settings import ListenerSettings, MailboxSettings, RelaySettings, Secret, Settings, is_of_mailbox

__all__ = [
    "ListenerSettings",
    "MailboxSettings",
    "RelaySettings",
    "Secret",
    "Settings",
    "Transport",
    "is_of_mailbox",
    "kinds",
    "load",
]


@dataclass(frozen=True, slots=True)
class Transport:
    """What one kind of transport offers; `None` for a direction it does not serve."""

    kind: str
    incoming: type[MailboxSettings] | type[ListenerSettings] | None
    outgoing: type[RelaySettings] | None


@functools.cache
def kinds() -> tuple[str, ...]:
    """Name every kind of transport there is, sorted: each is a file of this package."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


def load(kind: str) -> Transport:
    """Import one kind. Raises KeyError for a name that is not among `kinds()`."""
    if kind not in kinds():
        raise KeyError(kind)
    module = importlib.import_module(f"{__name__}.{kind}")
    return Transport(kind, getattr(module, "INCOMING", None), getattr(module, "OUTGOING", None))
