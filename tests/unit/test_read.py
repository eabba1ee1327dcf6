"""Ten times as much of anything is ten times the work: lines of Python that are run, counted; no time is measured.

What a pattern costs within a line, tests/project/test_patterns.py proves.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from router.decide import decide
from router.model import Facts
from router.read import read
from router.unwrap import Trust, unwrap
from tests.support.build import copy
from tests.support.hostile import SHAPES, Shape, sized

SMALL = 3_000  # bytes
ONCE = 3_000  # lines, whatever the message is; the most that it may jump by, where a longer one is looked at otherwise


def lines_run(work: Callable[[], object]) -> int:
    """Count the lines that are run, those of libraries too."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def judge(raw: bytes) -> None:
    reading = read(raw, (), "mx.in.test")
    decide(replace(copy(b""), reading=reading), Facts())


def open_forward(raw: bytes) -> None:
    unwrap(raw, Trust(("*@in.test",), None))


@pytest.mark.parametrize("work", [judge, open_forward])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ten_times_as_much_is_ten_times_the_work(shape: Shape, work: Callable[[bytes], None]) -> None:
    small, large = (sized(shape, size) for size in (SMALL, 10 * SMALL))
    work(large)  # what is loaded or remembered once is no work of either
    assert lines_run(lambda: work(large)) <= 11 * lines_run(lambda: work(small)) + ONCE


def test_the_count_tells_what_is_linear_from_what_is_not() -> None:
    def pairs(raw: bytes) -> None:
        for _ in raw:
            sum(1 for _ in raw)

    small, large = (lines_run(lambda size=size: pairs(bytes(size))) for size in (100, 1_000))  # type: ignore[misc]
    assert large > 50 * small


def test_a_line_of_stars_above_what_is_quoted_is_read_at_once() -> None:
    raw = b"From: a@b.test\r\n\r\n" + b"*" * 5_000 + b"x\r\n-----Original Message-----\r\n> Hello.\r\n"
    [mark] = read(raw, (), None).text_marks
    assert mark.kind == "quote"
