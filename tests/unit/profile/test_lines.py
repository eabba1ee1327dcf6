import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.profile.lines import KeyPath, key_lines


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Name every path of a parsed document."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths(inner, (*path, index))
    return found


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("[a.b]\nc = 1\n", ("a",), 1),
        ("[a.b]\nc = 1\n", ("a", "b"), 1),
        ("[a.b]\nc = 1\n", ("a", "b", "c"), 2),
        ("[a.b.c]\nd = 1\n[a.b]\ne = 2\n", ("a", "b"), 3),
        ("\n# [x]\n[ a . 'b.c' ] # [y]\n\"d e\" = 1", ("a", "b.c", "d e"), 4),
        ("x.y = 1\nx.z.w = 2\n", ("x",), 1),
        ("x.y = 1\nx.z.w = 2\n", ("x", "z", "w"), 2),
        ("x = { y = 1, z = { w = [1] } }\n", ("x", "z", "w"), 1),
        ("x = [\n  1,\n  # two = 2\n  '#',\n  { y = 1 },\n]\nz = 1\n", ("x", 2, "y"), 5),
        ("x = [\n  1,\n  # two = 2\n  '#',\n  { y = 1 },\n]\nz = 1\n", ("z",), 7),
        ('x = """\n[a]\nb = 1\n\\"""\n"""""\nz = 1\n', ("z",), 6),
        ("x = '''\n[a]\nb = 1\\'''\nz = 1\n", ("z",), 4),
        ("x = ''''' '''''\nz = 1\n", ("z",), 2),
        ('x = "a # \\" [b]"\nz = 1\n', ("z",), 2),
        ("x = 1979-05-27 07:32:00.5\ny = -1.5e+3\nz = 1\n", ("z",), 3),
        ("x = 1\r\ny = 2\r\n", ("y",), 2),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n", ("a", 1, "b"), 4),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n", ("a", 1, "c", "d"), 6),
    ],
)
def test_a_key_stands_on_its_line(text: str, path: KeyPath, line: int) -> None:
    lines = key_lines(text)
    assert lines[path] == line
    assert set(lines) == paths(tomllib.loads(text))


# A document is a tree; the writer below lays it out in one of the ways TOML knows and notes the line of each key.
keys = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"#"', '"]="', "1"])
scalars = st.sampled_from(
    ["1", "-1.5", "true", "2026-01-01", "'#[x]'", '"\\"#="', '"""\n[t]\nk = 1\n"""', "'''\n\"\"\"\n'''", "'''''x'''''"]
)
noise = st.sampled_from(["", " # [n] k = 1", "\n", "\n# '''\n\n"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
tables = st.dictionaries(keys, values, max_size=4)


class Writer:
    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def note(self, path: KeyPath) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, list):
            self.text += "[ # (\n"
            for index, inner in enumerate(value):
                self.note((*path, index))
                self.value(inner, (*path, index))
                self.text += ",\n"
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, (key, inner) in enumerate(value.items()):
                self.text += ", " if index else " "
                self.pair(key, inner, path)
            self.text += "}"
        else:
            self.text += value

    def pair(self, key: str, value: Any, path: KeyPath) -> None:
        path = (*path, plain(key))
        self.note(path)
        self.text += f"{key} = "
        self.value(value, path)


def plain(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0")))


@settings(deadline=None)
@given(st.dictionaries(keys, tables, max_size=3), st.lists(noise, min_size=1, max_size=5))
def test_any_layout_is_followed(document: dict[str, dict[str, Any]], fillers: list[str]) -> None:
    writer = Writer()
    for header, table in document.items():
        writer.note((plain(header),))
        writer.text += f"[{header}]\n"
        for index, (key, value) in enumerate(table.items()):
            writer.pair(key, value, (plain(header),))
            writer.text += fillers[index % len(fillers)] + "\n"
    assert key_lines(writer.text) == writer.lines
    assert set(writer.lines) == paths(tomllib.loads(writer.text))
