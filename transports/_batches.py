"""Cut items into batches, bounded in number and bytes."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")


def batches(items: Iterable[_T], size_of: Callable[[_T], int], most: int, most_bytes: int) -> Iterator[list[_T]]:
    """Cut into runs of at most `most` items, whose sizes add up to at most `most_bytes`.

    What is larger by itself is a batch of its own. No more is taken from `items` than the batches given out need, but
    for the first item of the next.
    """
    batch: list[_T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and (len(batch) == most or total + size > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
