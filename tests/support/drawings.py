"""Reads drawings of states and arrows, as the pages have them."""

from collections.abc import Collection, Iterator

Place = tuple[int, int]
"""Row and column."""

_UP, _DOWN, _LEFT, _RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
_HEADS = {"▲": _UP, "▼": _DOWN, "◀": _LEFT, "▶": _RIGHT}
_LINES = {
    "─": {_LEFT, _RIGHT},
    "│": {_UP, _DOWN},
    "┌": {_RIGHT, _DOWN},
    "┐": {_LEFT, _DOWN},
    "└": {_RIGHT, _UP},
    "┘": {_LEFT, _UP},
    "├": {_UP, _DOWN, _RIGHT},
    "┤": {_UP, _DOWN, _LEFT},
    "┬": {_LEFT, _RIGHT, _DOWN},
    "┴": {_LEFT, _RIGHT, _UP},
}


def arrows(drawing: str, states: Collection[str]) -> list[tuple[str, str]]:
    """List the arrows, each as the state from which it comes and the one to which it points.

    Lines that meet share an arrowhead. Raises ValueError where a line begins or ends at no state, and where a line is
    of no arrow.
    """
    page = _Page(drawing, states)
    found = [arrow for head in page.heads for arrow in page.arrows_of(head)]
    if loose := page.lines - page.followed:
        raise ValueError(f"lines of no arrow at {sorted(loose)}")
    return found


class _Page:
    def __init__(self, drawing: str, states: Collection[str]) -> None:
        self._rows = drawing.splitlines()
        self._states = states
        places = [(row, column) for row, line in enumerate(self._rows) for column in range(len(line))]
        self.heads = [place for place in places if self._at(place) in _HEADS]
        self.lines = {place for place in places if self._at(place) in _LINES}
        self.followed: set[Place] = set()

    def arrows_of(self, head: Place) -> Iterator[tuple[str, str]]:
        """Follow an arrow, against its direction, to all places from which its lines come."""
        ahead = _HEADS[self._at(head)]
        target = self._state(head, ahead)
        for source in self._sources(head, (-ahead[0], -ahead[1])):
            yield source, target

    def _sources(self, place: Place, way: Place) -> Iterator[str]:
        following = _next(place, way)
        back = (-way[0], -way[1])
        open_to = _LINES.get(self._at(following), set())
        if back not in open_to:
            yield self._state(place, way)
            return
        self.followed.add(following)
        for direction in sorted(open_to - {back}):
            yield from self._sources(following, direction)

    def _state(self, place: Place, way: Place) -> str:
        """Read the state that is next on this way; beside it, a blank may stand between."""
        there = _next(place, way)
        if self._at(there) == " " and way in (_LEFT, _RIGHT):
            there = _next(there, way)
        row, column = there
        line = self._rows[row] if 0 <= row < len(self._rows) else ""
        begin = end = column
        while begin > 0 and _is_of_name(line[begin - 1 : begin]):
            begin -= 1
        while _is_of_name(line[end : end + 1]):
            end += 1
        if line[begin:end] not in self._states:
            raise ValueError(f"no state in row {row}, column {column}, but {line[begin:end]!r}")
        return line[begin:end]

    def _at(self, place: Place) -> str:
        row, column = place
        return self._rows[row][column] if 0 <= row < len(self._rows) and 0 <= column < len(self._rows[row]) else " "


def _next(place: Place, way: Place) -> Place:
    return place[0] + way[0], place[1] + way[1]


def _is_of_name(character: str) -> bool:
    return character == "_" or character.isalpha()
