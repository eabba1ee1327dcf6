"""Plots: shapes that show what they are given, all of it, and gaps where nothing is known."""

from router.web.console.plots import HEIGHT, WIDTH, Series, ledger, lines, stacked
from router.web.console.well import seconds


def test_a_ledger_is_filled_by_its_parts_and_each_is_seen() -> None:
    bars = ledger({"promoted": 1_000_000, "ignored": 0, "dead": 1})
    assert [one.css for one in bars] == ["plot-1", "plot-broken"]
    assert sum(one.width for one in bars) == WIDTH
    assert bars[1].width >= 4
    assert ledger({"promoted": 0}) == []


def test_bars_stand_on_one_another_and_the_highest_fills_the_plot() -> None:
    plot = stacked("in", "", [Series("a", "x", [3, None]), Series("b", "y", [1, 2])])
    assert [(one.css, one.y, one.height) for one in plot.bars] == [("x", 24, 72), ("y", 0, 24), ("y", 48, 48)]
    assert sum(one.height for one in plot.bars[:2]) == HEIGHT
    assert plot.top == "4"
    assert stacked("in", "", [Series("a", "x", [None, None])]).is_empty


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    plot = lines("lag", "", [Series("a", "x", [1, 2, None, 2])], "2 s")
    assert plot.lines[0].path.count("M") == 2
    assert lines("lag", "", [Series("a", "x", [0, 0])], "").lines[0].path.startswith(f"M0.0 {HEIGHT - 1}.0")


def test_a_short_time_is_never_none() -> None:
    assert [seconds(one) for one in (0.004, 0.4, 12, 180, 7200)] == ["0.1 s", "0.4 s", "12 s", "3 min", "2 h"]
