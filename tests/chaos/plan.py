"""What goes wrong in a chaos run, and when: drawn from a seed, so that a run can be repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Strike:
    """One fault: when it begins and how long it lasts at least, in seconds, and the seed of what else it chooses."""

    at: float
    kind: str
    lasts: float
    seed: int

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.kind}, {self.lasts:.1f} s"


@dataclass(frozen=True)
class Plan:
    """The strikes of a run, in the order of their beginnings."""

    seed: int
    seconds: float
    strikes: tuple[Strike, ...]

    @classmethod
    def draw(cls, seed: int, seconds: float, kinds: Sequence[str], pause: float, longest: float) -> "Plan":
        """Draw every kind of fault at least once; beyond that one begins every `pause` seconds.

        Each lasts up to `longest` seconds, so that several are in force at any time.
        """
        dice = Random(seed)
        more = max(0, int(seconds / pause) - len(kinds))
        chosen = [*kinds, *dice.choices(kinds, k=more)]
        strikes = [
            Strike(dice.uniform(0, seconds), kind, dice.uniform(0.2, 1) * longest, dice.randrange(2**32))
            for kind in chosen
        ]
        return cls(seed, seconds, tuple(sorted(strikes, key=lambda strike: strike.at)))

    def __str__(self) -> str:
        lines = "\n".join(map(str, self.strikes))
        return f"seed {self.seed}, {self.seconds:g} s, {len(self.strikes)} faults\n{lines}"
