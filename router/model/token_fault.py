"""Why there is no new token, and whether to ask for one again."""

from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["temporary", "refused", "permanent"]
"""Whether to ask again soon, after a new login or another secret, or after a change of the profile."""


@dataclass(frozen=True, slots=True)
class TokenFault:
    """Why there is no new token. `pause`: seconds until somebody may ask again; at most 0 if that is now."""

    kind: FaultKind
    words: str
    failures: int
    pause: float
