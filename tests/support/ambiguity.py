"""Whether a regular expression takes time in proportion to its input: a proof, not a measurement.

Python's engine tries one way through a pattern after another. If the number of ways to any place in the pattern, over
any text, has a bound that does not depend on the text's length, so has the number of times that the engine looks at a
character. So the pattern is made an automaton (Glushkov's: a state is a character of the pattern), and that has a bound
exactly if neither of these is found (Weber and Seidl, "On the degree of ambiguity of finite automata", 1991):

    two different ways from a state to itself over the same word: the time is exponential
    a word that leads from p to p, from p to q, and from q to q, where p is not q: the time is at least quadratic

A search begins anew at every character: that is one more state, in front, which every character leads back to. What
the pattern may end in at any time, as the end of `a\\s+`, does no harm: the first way there is the last.

Where this cannot see through something (a lookahead for more than a character, a possessive group), it takes more ways
to exist than do: it may refuse what is linear, and never proves what is not.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from re import _constants as sre  # type: ignore[attr-defined]  # the standard library's own, as its parser is
from re import _parser
from typing import Any, Literal

_UNROLLED = 40
"""Repetitions up to this number are taken as they are; larger ones are circles with a bound."""

_MOST_TIMES = 1_000
"""How many ways repetitions with a bound may make together, for each character."""

_SAMPLES = "".join(map(chr, range(256))) + "ǅəΣςאあЯяｱ中٣²Ⅷ‍́\u2028\u3000\ud800\uffff😀"


Use = Literal["search", "match", "whole"]
"""How a pattern is used: looked for anywhere, at one place, or of a whole text."""


@dataclass(frozen=True)
class Finding:
    """Why a pattern is not linear, with the piece that takes more and more time."""

    words: str


@dataclass
class _Piece:
    """A part of the pattern. Sets of characters are bits of a number.

    `first`: how many ways lead into which state, by what may stand before it and what it may be there. `last`: how
    many ways lead out of which state, by what may follow. `open_last` are the states in which it may end whatever
    follows. `ways_past`: in how many ways it matches nothing, at most 2, which is many; what may stand before it then,
    if a word character follows and if another does, and what may follow.
    """

    first: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    last: Counter[tuple[int, int]] = field(default_factory=Counter)
    open_last: set[int] = field(default_factory=set)
    ways_past: int = 0
    open_past: bool = False
    before: tuple[int, int] = (0, 0)
    after: int = 0


class _Automaton:
    def __init__(self, pattern: "re.Pattern[Any]", use: Use) -> None:
        self.is_bytes = isinstance(pattern.pattern, bytes)
        tree = _parser.parse(pattern.pattern, pattern.flags)
        self.flags = pattern.flags
        self.alphabet = _alphabet(tree, is_bytes=self.is_bytes)
        self.all = (1 << len(self.alphabet)) - 1
        self.word = self._mask(lambda one: one == "_" or (one.isalnum() and (one.isascii() or self._is_unicode())))
        self.sets: list[int] = []
        self.texts: list[str] = []
        self.ways: dict[int, Counter[tuple[int, int]]] = {}  # from a state, to a state over these characters
        self.bounds: dict[int, float] = {}  # how often a state can follow itself, by the repetitions that it is in
        whole = self._sequence(tree)
        self.open = frozenset() if use == "whole" else frozenset(whole.open_last)
        if use == "search":
            self._search(whole)

    def _is_unicode(self) -> bool:
        return not self.is_bytes and not self.flags & re.ASCII

    def _mask(self, has: Callable[[str], bool]) -> int:
        return sum(1 << number for number, one in enumerate(self.alphabet) if has(one))

    def _search(self, whole: _Piece) -> None:
        """Add the state in front, and one for each set of characters that may stand before the pattern."""
        start = self._state(self.all, "the start of each attempt")
        self.ways[start][start, self.all] = 1
        self.bounds[start] = math.inf
        for state, before, own in whole.first:
            if before == self.all:
                self.ways[start][state, own & self.sets[state]] = 1
            elif before:
                above = self._state(before, "what is before it")
                self.ways[start][above, before] = 1
                self.ways[above][state, own & self.sets[state]] = 1

    # --- From the pattern to its states ---

    def _state(self, characters: int, text: str) -> int:
        self.sets.append(characters)
        self.texts.append(text)
        self.ways[len(self.sets) - 1] = Counter()
        return len(self.sets) - 1

    def _sequence(self, tree: Any) -> _Piece:
        found = self._nothing()
        for operation, argument in tree:
            found = self._then(found, self._one(operation, argument))
        return found

    def _nothing(self) -> _Piece:
        return self._asserted((self.all, self.all), self.all, is_open=True)

    def _asserted(self, before: tuple[int, int], after: int, *, is_open: bool = False) -> _Piece:
        return _Piece(ways_past=1, open_past=is_open, before=before, after=after)

    def _one(self, operation: Any, argument: Any) -> _Piece:  # noqa: PLR0911  # a case for each operation
        match operation:
            case sre.LITERAL | sre.NOT_LITERAL | sre.ANY | sre.IN:
                return self._character(operation, argument)
            case sre.BRANCH:
                return self._either([self._sequence(one) for one in argument[1]])
            case sre.SUBPATTERN:
                _, add, remove, inner = argument
                outer, self.flags = self.flags, (self.flags | add) & ~remove
                piece = self._sequence(inner)
                self.flags = outer
                return piece
            case sre.ATOMIC_GROUP:
                return self._sequence(argument)
            case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
                return self._repeated(*argument, possessive=operation is sre.POSSESSIVE_REPEAT)
            case sre.AT:
                return self._asserted(self._at(argument), self.all)
            case sre.ASSERT | sre.ASSERT_NOT:
                return self._looked(operation, *argument)
        raise NotImplementedError(f"{operation} in a pattern that meets mail")

    def _character(self, operation: Any, argument: Any) -> _Piece:
        state = self._state(self._of_character(operation, argument), str(argument))
        return _Piece(Counter({(state, self.all, self.all): 1}), Counter({(state, self.all): 1}), {state})

    def _of_character(self, operation: Any, argument: Any) -> int:
        return self._mask(lambda one: _matches(one, operation, argument, self.flags))

    def _either(self, pieces: Sequence[_Piece]) -> _Piece:
        found = _Piece()
        for one in pieces:
            found.first += one.first
            found.last += one.last
            found.open_last |= one.open_last
            found.ways_past = min(2, found.ways_past + one.ways_past)
            found.open_past |= one.open_past
            found.before = (found.before[0] | one.before[0], found.before[1] | one.before[1])
            found.after |= one.after
        return found

    def _then(self, first: _Piece, second: _Piece) -> _Piece:
        self._join(first, second)
        found = _Piece(Counter(first.first), Counter(second.last), set(second.open_last))
        if first.ways_past:
            for (state, before, own), ways in second.first.items():
                found.first[state, before & self._allowed(first.before, state), own & first.after] += (
                    ways * first.ways_past
                )
        if second.ways_past:
            for (state, after), ways in first.last.items():
                found.last[state, after & second.after] += ways * second.ways_past
        if second.open_past:
            found.open_last |= first.open_last
        found.ways_past = min(2, first.ways_past * second.ways_past)
        found.open_past = first.open_past and second.open_past
        found.before = (first.before[0] & second.before[0], first.before[1] & second.before[1])
        found.after = first.after & second.after
        return found

    def _join(self, first: _Piece, second: _Piece) -> None:
        for (here, after), ways in first.last.items():
            for (there, before, own), more in second.first.items():
                if self.sets[here] & before and (over := self.sets[there] & after & own):
                    self.ways[here][there, over] += ways * more

    def _allowed(self, before: tuple[int, int], state: int) -> int:
        after_word, after_other = before
        found = after_word if self.sets[state] & self.word else 0
        return found | (after_other if self.sets[state] & ~self.word else 0)

    def _repeated(self, least: int, most: Any, inner: Any, *, possessive: bool) -> _Piece:
        if most is not sre.MAXREPEAT and most <= _UNROLLED:
            found = self._nothing()
            for _ in range(most - least):  # x{0,2} is (x(x)?)?
                found = self._either([self._then(self._sequence(inner), found), self._nothing()])
            for _ in range(least):
                found = self._then(self._sequence(inner), found)
            return found
        begin = len(self.sets)
        found = self._sequence(inner)
        self._join(found, found)
        for state in range(begin, len(self.sets)):
            self.bounds[state] = self.bounds.get(state, 1) * (math.inf if most is sre.MAXREPEAT else int(most))
        past = self._nothing()
        if possessive and most is sre.MAXREPEAT and _is_character(inner):
            past.after = self.all & ~self._of_character(*inner[0])  # it takes all that there are
            found.last = Counter({(state, after & past.after): ways for (state, after), ways in found.last.items()})
        if least == 0:
            return self._either([found, past])
        for _ in range(min(least, _UNROLLED) - 1):
            found = self._then(self._sequence(inner), found)
        return found

    def _at(self, where: Any) -> tuple[int, int]:
        """Which characters may stand before this place: where a word character follows it, and where another does."""
        line_end = self._mask(lambda one: one == "\n")
        other = self.all & ~self.word
        if where is sre.AT_BEGINNING and self.flags & re.MULTILINE:
            return line_end, line_end
        if where in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
            return 0, 0
        if where is sre.AT_BOUNDARY:
            return other, self.word
        if where is sre.AT_NON_BOUNDARY:
            return self.word, other
        return self.all, self.all

    def _looked(self, operation: Any, direction: int, inner: Any) -> _Piece:
        everywhere = (self.all, self.all)
        if _is_character(inner):
            found = self._of_character(*inner[0])
            found = found if operation is sre.ASSERT else self.all & ~found
            return self._asserted((found, found), self.all) if direction < 0 else self._asserted(everywhere, found)
        if direction < 0:
            return self._asserted(everywhere, self.all)
        # A way that ends there, beside the one that goes on.
        return _Piece(Counter(self._sequence(inner).first), ways_past=1, before=everywhere, after=self.all)

    # --- What is ambiguous ---

    def find(self) -> Finding | None:
        circles = list(self._circles(frozenset(self.ways)))
        of_state = {state: circle for circle in circles for state in circle}
        # Where it may end wherever it is, the first way is the last: what it passed is not looked at again.
        open_circles = {circle for circle in circles if not list(self._circles(circle - self.open))}
        for circle in circles:
            for state in () if circle in open_circles else circle:
                if self._twice(state, circle):
                    return Finding(f"exponential: two ways around {self.texts[state]}")
        ambiguous: dict[int, list[int]] = {}
        for p, around_p in of_state.items():
            for q, around_q in of_state.items():
                if p != q and around_q not in open_circles and self._leads(p, q, around_p, around_q):
                    if self.bounds[p] == self.bounds[q] == math.inf:
                        return Finding(f"more than linear: {self.texts[p]}, then {self.texts[q]}")
                    ambiguous.setdefault(p, []).append(q)
        most = max((_ways(chain) for p in ambiguous for chain in self._chains([p], ambiguous)), default=1)
        return Finding(f"each character may be looked at {most:.0f} times") if most > _MOST_TIMES else None

    def _chains(self, chain: list[int], ambiguous: Mapping[int, Sequence[int]]) -> Iterator[list[float]]:
        """Yield the bounds of repetitions that follow one another."""
        yield [self.bounds[state] for state in chain]
        for following in ambiguous.get(chain[-1], ()):
            if following not in chain:
                yield from self._chains([*chain, following], ambiguous)

    def _circles(self, states: frozenset[int]) -> Iterator[frozenset[int]]:
        """Yield the sets of states that lead to one another without leaving these."""
        reach = {state: self._reached(state, states) for state in states}
        seen: set[int] = set()
        for state, reached in reach.items():
            if state in reached and state not in seen:
                circle = frozenset(other for other in reached if state in reach[other])
                seen |= circle
                yield circle

    def _reached(self, state: int, states: frozenset[int]) -> set[int]:
        found: set[int] = set()
        coming = [state]
        while coming:
            for following, _ in self.ways[coming.pop()]:
                if following not in found and following in states:
                    found.add(following)
                    coming.append(following)
        return found

    def _twice(self, state: int, circle: frozenset[int]) -> bool:
        """Whether two different ways lead from the state to itself over the same word."""
        seen: set[tuple[int, int, bool]] = set()
        coming = [(state, state, False)]
        while coming:
            first, second, differ = coming.pop()
            for to_first, over_first, ways in self._within(first, circle):
                for to_second, over_second, _ in self._within(second, circle):
                    if not over_first & over_second:
                        continue
                    other = to_first != to_second or over_first != over_second
                    differs = differ or other or (first == second and ways > 1)
                    if differs and to_first == to_second == state:
                        return True
                    if (to_first, to_second, differs) not in seen:
                        seen.add((to_first, to_second, differs))
                        coming.append((to_first, to_second, differs))
        return False

    def _leads(self, p: int, q: int, around_p: frozenset[int], around_q: frozenset[int]) -> bool:
        """Whether a word leads from p to p, from p to q, and from q to q."""
        everywhere = frozenset(self.ways)
        seen: set[tuple[int, int, int]] = set()
        coming = [(p, p, q)]
        while coming:
            at_p, between, at_q = coming.pop()
            for to_p, over_p, _ in self._within(at_p, around_p):
                for to_q, over_q, _ in self._within(at_q, around_q):
                    if not over_p & over_q:
                        continue
                    for to_between, over, _ in self._within(between, everywhere):
                        found = (to_p, to_between, to_q)
                        if over_p & over_q & over and found not in seen:
                            if found == (p, q, q):
                                return True
                            seen.add(found)
                            coming.append(found)
        return False

    def _within(self, state: int, states: frozenset[int]) -> list[tuple[int, int, int]]:
        return [(to, over, ways) for (to, over), ways in self.ways[state].items() if to in states]


def find_ambiguity(pattern: "re.Pattern[Any]", use: Use) -> Finding | None:
    """Say why a pattern is not linear; None if it is."""
    return _Automaton(pattern, use).find()


def _ways(bounds: Sequence[float]) -> float:
    """In how many ways these repetitions can share a text between them.

    Where one has no bound, it takes what the others leave; else the whole is as long as it is, so one is not free.
    """
    ways = math.prod(bound for bound in bounds if bound != math.inf)
    return ways if math.inf in bounds else ways / max(bounds)


def _is_character(tree: Any) -> bool:
    return len(tree) == 1 and tree[0][0] in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN)


def _alphabet(tree: Any, *, is_bytes: bool) -> str:
    """Return characters such that any other behaves as one of them does."""
    found = set(_SAMPLES[:256] if is_bytes else _SAMPLES)
    for code in _codes(tree):
        for near in (code - 1, code, code + 1):
            if 0 <= near < (256 if is_bytes else 0x110000):
                found |= {one for one in (chr(near), chr(near).lower(), chr(near).upper()) if len(one) == 1}
    return "".join(sorted(one for one in found if not is_bytes or ord(one) < 256))


def _codes(tree: Any) -> Iterator[int]:
    """Yield the characters that are written in a pattern, and the ends of its ranges."""
    if isinstance(tree, tuple | list | _parser.SubPattern):
        if len(tree) == 2 and tree[0] in (sre.LITERAL, sre.NOT_LITERAL):
            yield tree[1]
        elif len(tree) == 2 and tree[0] is sre.RANGE:
            yield from tree[1]
        else:
            for one in tree:
                yield from _codes(one)


_CATEGORIES: Mapping[Any, str] = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}


def _matches(one: str, operation: Any, argument: Any, flags: int) -> bool:
    """Whether a character of the pattern is this one."""
    if operation is sre.ANY:
        return bool(flags & re.DOTALL) or one != "\n"
    ways = {one, one.lower(), one.upper()} if flags & re.IGNORECASE else {one}
    if operation is sre.IN:
        negated = argument[0][0] is sre.NEGATE
        return negated != any(_is_in(way, item, flags) for way in ways for item in argument[negated:])
    return (operation is sre.NOT_LITERAL) != any(way == chr(argument) for way in ways)


def _is_in(one: str, item: Any, flags: int) -> bool:
    operation, argument = item
    if operation is sre.LITERAL:
        return one == chr(argument)
    if operation is sre.RANGE:
        return len(one) == 1 and argument[0] <= ord(one) <= argument[1]
    return re.fullmatch(_CATEGORIES[argument], one, flags & re.ASCII) is not None
