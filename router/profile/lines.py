"""On which line of a TOML file each key stands. The standard parser does not tell, and an admin wants to know.

The text has been parsed before, so it is valid TOML: what is scanned here is only its shape, never its values.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""Where a value lies: keys of tables, and indexes of arrays."""

_TOKEN = re.compile(
    r'''
      (?P<text> """ (?:[^\\]|\\.)*? """ "{0,2} | \'{3} .*? \'{3} \'{0,2} | "(?:[^"\\]|\\.)*" | '[^']*' )
    | (?P<skip> [ \t\r]+ | \#[^\n]* )
    | (?P<newline> \n )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<bare> [^\s\[\]{}=,."'\#]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)
_END = ""


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Map each path of a valid TOML text to the line, from 1, where its key (in an array: its value) begins."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._tokens = self._split(text)
        self._lines: dict[KeyPath, int] = {}
        self._lengths: dict[KeyPath, int] = {}  # of arrays of tables, which grow by their headers
        self._advance()

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, int]]:
        line = 1
        for token in _TOKEN.finditer(text):
            if token.lastgroup != "skip":
                yield token[0], line
            line += token[0].count("\n")
        yield _END, line

    def _advance(self) -> str:
        """Step to the next token; return the one that was left."""
        left = getattr(self, "_here", _END)
        self._here, self._line = next(self._tokens)
        return left

    def document(self) -> Mapping[KeyPath, int]:
        table: KeyPath = ()
        while self._here != _END:
            if self._here == "\n":
                self._advance()
            elif self._here == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> KeyPath:
        line = self._line
        self._advance()
        is_array = self._here == "["
        if is_array:
            self._advance()
        path: KeyPath = ()
        for key in self._key():
            path = (*self._in_last(path), key)
            self._lines.setdefault(path, line)
        if is_array:
            index = self._lengths.get(path, 0)
            self._lengths[path] = index + 1
            path = (*path, index)
            self._advance()
        self._lines[path] = line
        self._advance()
        return path

    def _in_last(self, path: KeyPath) -> KeyPath:
        """Below an array of tables, a header means its last table."""
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _pair(self, table: KeyPath) -> None:
        line = self._line
        path = table
        for key in self._key():
            path = (*path, key)
            self._lines.setdefault(path, line)
        self._advance()  # the equals sign
        self._value(path)

    def _key(self) -> list[str]:
        keys = [self._part()]
        while self._here == ".":
            self._advance()
            keys.append(self._part())
        return keys

    def _part(self) -> str:
        part = self._advance()
        return next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part

    def _value(self, path: KeyPath) -> None:
        if self._here == "[":
            self._array(path)
        elif self._here == "{":
            self._inline_table(path)
        else:
            while self._here not in (",", "]", "}", "\n", _END):
                self._advance()

    def _array(self, path: KeyPath) -> None:
        self._advance()
        index = 0
        while self._here != "]":
            if self._here in ("\n", ","):
                self._advance()
            else:
                self._lines[*path, index] = self._line
                self._value((*path, index))
                index += 1
        self._advance()

    def _inline_table(self, path: KeyPath) -> None:
        self._advance()
        while self._here != "}":
            if self._here in ("\n", ","):
                self._advance()
            else:
                self._pair(path)
        self._advance()
