"""Small plots as SVG, drawn on the server: shapes for a template, with what they show in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 384
HEIGHT: Final = 96
"""Of a plot, in units of its own: it is as wide as its place on the page."""


@dataclass(frozen=True, slots=True)
class Series:
    """One color of a plot: its name, the class that colors it, its values (None: not known), and their sum in words."""

    name: str
    css: str
    values: Sequence[float | None]
    total: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a bar."""

    css: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its gaps: the `d` of a path."""

    css: str
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot: what it is called, what it shows in words, its highest value in words, and its shapes."""

    name: str
    words: str
    series: Sequence[Series]
    top: str
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was noted yet."""
        return all(value is None for one in self.series for value in one.values)


def stacked(name: str, words: str, series: Sequence[Series]) -> Plot:
    """Draw values upon one another, a bar for each step."""
    steps = len(series[0].values)
    heights = [sum(one.values[step] or 0 for one in series) for step in range(steps)]
    top = max(heights, default=0)
    slot = WIDTH / max(steps, 1)
    bars = []
    for step in range(steps):
        y = float(HEIGHT)
        for one in series:
            value = one.values[step]
            if value:
                height = value / top * HEIGHT
                y -= height
                bars.append(Bar(one.css, round(step * slot + 1, 1), round(y, 1), round(slot - 2, 1), round(height, 1)))
    return Plot(name, words, series, f"{top:,.0f}" if top else "", bars=bars)


def lines(name: str, words: str, series: Sequence[Series], top: str) -> Plot:
    """Draw a line for each series, on the same scale; where a value is not known, the line has a gap."""
    highest = max((value or 0 for one in series for value in one.values), default=0) or 1.0
    return Plot(name, words, series, top, lines=[Line(one.css, _path(one.values, highest)) for one in series])


def _path(values: Sequence[float | None], highest: float) -> str:
    slot = WIDTH / max(len(values) - 1, 1)
    pieces, pen = [], "M"
    for step, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        pieces.append(f"{pen}{step * slot:.1f} {HEIGHT - 1 - value / highest * (HEIGHT - 2):.1f}")
        if pen == "M":
            pieces.append("h0.01")  # a value between two gaps is a dot
        pen = "L"
    return "".join(pieces)


_LEDGER: Final = {
    "promoted": "plot-1", "duplicate": "plot-2", "ignored": "plot-3", "held": "plot-held", "dead": "plot-broken",
    "unaccounted": "plot-waiting",
}  # fmt: skip
_LEAST: Final = 4.0  # units, so that one dead letter among a million is seen


def ledger(parts: Mapping[str, int]) -> Sequence[Bar]:
    """Draw what became of copies as one bar, which they fill; in a box of WIDTH by 1."""
    known = {name: number for name, number in parts.items() if number > 0}
    total = sum(known.values())
    bars: list[Bar] = []
    x, room = 0.0, WIDTH - _LEAST * len(known)
    for name, number in known.items():
        width = _LEAST + number / total * room
        bars.append(Bar(_LEDGER[name], round(x, 1), 0, round(width, 1), 1))
        x += width
    return bars
