"""The set of UIDLs as a cursor: small, quick, and the same for the same set."""

import sys
import time

import pytest

from transports.base import Cursor
from transports.errors import CursorLost
from transports.pop3.cursor import cursor, mark, marks_of


def test_ten_thousand_ids_are_written_and_read() -> None:
    began = time.perf_counter()
    marks = frozenset(mark(f"{number:08x}5f3ca1b2") for number in range(10_000))
    written = cursor(marks)
    read = marks_of(written)
    sys.stdout.write(f"10,000 UIDLs: {len(written)} bytes, {time.perf_counter() - began:.3f} s\n")
    assert read == marks
    assert len(read) == 10_000
    assert len(written) <= 80_010


def test_the_order_makes_no_difference_and_nothing_is_a_set() -> None:
    marks = [mark(id_) for id_ in ("b", "a", "ü\udcff")]
    assert cursor(marks) == cursor(marks[::-1])
    assert marks_of(cursor([])) == marks_of(None) == frozenset()


@pytest.mark.parametrize("written", ["", "17:42", "uidl:AA", "uidl:AAAA", "uidl:?", "AAAAAAAA"])
def test_what_is_none_of_ours_is_lost(written: str) -> None:
    with pytest.raises(CursorLost, match="read again"):
        marks_of(Cursor(written))
