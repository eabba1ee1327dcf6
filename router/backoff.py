"""Growing pauses between tries of what goes on for as long as the process lives.

`Backoff` is for a loop that alternates between working and failing: a connection that is kept, lost and opened again,
which begins with short pauses once it has worked for a while. One call that is repeated until it succeeds, as when
something is connected to, started or refreshed, is tenacity's.
"""

from random import Random


class Backoff:
    """Growing pauses between failures, doubled each time; `reset` once what failed has worked for a while."""

    def __init__(self, first: float = 0.5, longest: float = 60.0, dice: Random | None = None) -> None:
        """`first` and `longest` are in seconds; each pause is 50 to 100% of its length, by `dice`."""
        self._first = first
        self._longest = longest
        self._dice = dice or Random()  # noqa: S311  # spreads load, guards no secret
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Seconds to pause after one more failure; at least what the server asked for."""
        pause = min(self._longest, self._first * 2.0 ** min(self._failures, 20)) * float(self._dice.uniform(0.5, 1.0))
        self._failures += 1
        return max(pause, at_least or 0.0)

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._failures = 0
