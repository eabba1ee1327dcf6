"""What the router itself raises.

RouterError
└── ProfileErrors       the profiles cannot be used as they are written
"""

from collections.abc import Iterable
from dataclasses import dataclass


class RouterError(Exception):
    """Base of all that the router raises; the text is for an admin and holds no secret."""


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong with the profiles, in words for an admin.

    `file` is its name in the profile folder and `line` counts from 1; 0 means the whole file, and an empty `file` no
    file in particular.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        if not self.file:
            return self.text
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class ProfileErrors(RouterError):
    """Every mistake of every profile at once, ordered by file and line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))
