"""Patterns of addresses: an address itself, or one with `*` for anything (`*@example.com`); the most exact wins."""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Generic, TypeVar

from router.model import normalize

T = TypeVar("T")

_PATTERN = re.compile(r"[^\s@<>()\[\],;:\"\\?]+@[^\s@<>()\[\],;:\"\\?]+")


def parse(text: str) -> str:
    """Check and normalize a pattern. Raises ValueError in words for an admin."""
    pattern = normalize(text)
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f'"{text}" is no address: write "sales@example.com", or "*@example.com" with * for anything')
    return pattern


def exactness(pattern: str) -> tuple[bool, int]:
    """Rank a pattern, greater is more exact: an address before any `*`, then the one with more characters given."""
    return "*" not in pattern, len(pattern.replace("*", ""))


def overlap(one: str, other: str) -> bool:
    """Whether some address matches both patterns."""
    if "*" in one and "*" in other and not _ends_agree(one, other):
        return False  # as for most pairs of many profiles
    seen = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(other):
            return True
        here, there = one[i : i + 1], other[j : j + 1]
        if "*" in (here, there):
            steps = {(i + 1, j), (i, j + 1)}
        elif here == there:
            steps = {(i + 1, j + 1)}
        else:
            continue
        new = {(i, j) for i, j in steps if i <= len(one) and j <= len(other)} - seen
        seen |= new
        todo += new
    return False


def _ends_agree(one: str, other: str) -> bool:
    """Whether what two globs begin and end with, up to their first and last `*`, allows an address of both."""
    begins, others_begin = one.partition("*")[0], other.partition("*")[0]
    ends, others_end = one.rpartition("*")[2], other.rpartition("*")[2]
    return (begins.startswith(others_begin) or others_begin.startswith(begins)) and (
        ends.endswith(others_end) or others_end.endswith(ends)
    )


class PatternTable(Generic[T]):
    """Finds what an address belongs to, by the most exact pattern that matches it."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._globs: list[tuple[re.Pattern[str], T]] = []
        for pattern, target in sorted(entries, key=lambda entry: exactness(entry[0]), reverse=True):
            if "*" in pattern:
                # A pattern holds none of the other characters that translate() gives a meaning to, and what it makes
                # takes linear time.
                self._globs.append((re.compile(translate(pattern)), target))
            else:
                self._exact.setdefault(pattern, target)

    def find(self, address: str) -> T | None:
        """Return what the address belongs to; the first of equally exact patterns, None if none matches it."""
        if not self._exact and not self._globs:
            return None  # as most tables of a house are, and all its mailboxes are asked for
        address = normalize(address)
        if address in self._exact:
            return self._exact[address]
        return next((target for glob, target in self._globs if glob.match(address)), None)
