"""A token in memory, and for how long it is used."""

from dataclasses import dataclass, field
from typing import Final

_BEFORE: Final = 300.0  # seconds before its end at which a token is renewed
_SHORT: Final = 1200.0  # seconds; one that lasts less is renewed in its last quarter
_SPARE: Final = 10.0  # seconds that a login may take: a token that ends within them is given to nobody


@dataclass(frozen=True, slots=True)
class Held:
    """A token; times are of the monotonic clock."""

    token: str = field(repr=False)
    renew_at: float
    ends_at: float
    granted_at: float
    scope: str | None = None


def held_of(token: str, now: float, lasts: float, lifetime: float, scope: str | None) -> Held:
    """Tell of a token that is good for `lasts` more seconds of its `lifetime` when it is to be renewed."""
    ends_at = now + lasts
    renew_at = ends_at - (lifetime / 4 if lifetime < _SHORT else _BEFORE)
    return Held(token, renew_at, ends_at - min(_SPARE, lifetime / 10), ends_at - lifetime, scope)
