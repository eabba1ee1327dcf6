"""Cutting by count and by bytes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports import batches


def size_of(size: int) -> int:
    return size


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ([], []),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([5, 5, 1], [[5, 5], [1]]),
        ([4, 7, 3], [[4], [7, 3]]),
        ([1, 11, 1], [[1], [11], [1]]),
        ([11, 12], [[11], [12]]),
        ([0, 0, 0, 0], [[0, 0, 0], [0]]),
    ],
)
def test_three_items_of_ten_bytes_at_most(sizes: Sequence[int], cut: Sequence[Sequence[int]]) -> None:
    assert list(batches(sizes, size_of, 3, 10)) == cut


@given(st.lists(st.integers(0, 20)), st.integers(1, 5), st.integers(1, 30))
def test_nothing_is_lost_and_no_limit_exceeded(sizes: list[int], most: int, most_bytes: int) -> None:
    cut = list(batches(sizes, size_of, most, most_bytes))
    assert [size for batch in cut for size in batch] == sizes
    for batch in cut:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(batch) <= most_bytes
