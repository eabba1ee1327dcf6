"""No regular expression takes longer than its input is long: proven for each, since mail and servers are hostile."""

import ast
import re
from collections.abc import Mapping

import pytest

from tests.support.ambiguity import Use, find_ambiguity
from tests.support.patterns import Used, patterns, sources

ADMINS = ("router.commands", "router.demo", "router.postgres", "router.profile", "router.settings")
"""These read what an admin wrote, in files of a few kilobytes."""

ARGUED: Mapping[str, str] = {
    "router.html.markup._TEXT_AND_TAG": "each of its groups is possessive, so of the ways that the proof counts the "
    "engine keeps the first; a quote without an end is looked for once, as there is none after it",
}
"""What the proof cannot see, and why it is so nevertheless."""


def by_name() -> list[Used]:
    return [used for used in patterns() if not used.name.startswith(ADMINS)]


@pytest.mark.parametrize("used", by_name(), ids=lambda used: used.name)
def test_a_pattern_that_meets_mail_or_a_server_is_linear(used: Used) -> None:
    found = find_ambiguity(used.pattern, used.use)
    assert (found is None) != (used.name in ARGUED), f"{used.pattern.pattern!r}, in a {used.use}: {found}"


def test_no_pattern_is_hidden_from_the_proof() -> None:
    """Each is compiled as a global, where the proof finds it; escaping and replacing need none."""
    hidden = []
    for module, tree in sources():
        if module.startswith(ADMINS):
            continue
        of_globals = {id(inner) for node in tree.body if not isinstance(node, _SCOPES) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re":
                allowed = {"Match", "Pattern", "escape"} | ({"compile"} if id(node) in of_globals else set())
                if node.attr not in allowed and not node.attr.isupper():
                    hidden.append(f"{module}, line {node.lineno}: re.{node.attr}")
            if isinstance(node, ast.ImportFrom) and node.module == "re":
                hidden.append(f"{module}, line {node.lineno}: from re import")
    assert hidden == []
    assert len(by_name()) > 150


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@pytest.mark.parametrize(
    ("pattern", "use", "is_linear"),
    [
        # More than one way around a circle.
        (r"(a*)*b", "match", False),
        (r"(?:a|a)*b", "match", False),
        (r"(?:a?b?)*c", "match", False),
        (r"(?:ab|a|b)*c", "match", False),
        (r"(?:a|ab)*c", "match", True),
        # Two repetitions that can share a text.
        (r"a*b*a*c", "match", False),
        (r"a*ba*c", "match", True),
        (r".*a.*b", "match", False),
        (r"[\s>*]*[_=\-*~#]{5,}[\s*]*$", "match", False),
        (r"[ \t]*[^<]*<", "match", False),
        (r"[ \t]*+[^<]*+<", "match", True),
        (r"a*b*a*", "match", True),
        (r"a*b*a*", "whole", False),
        # A repetition that a search begins anew within.
        (r"\s+", "search", True),
        (r"\s+\.", "search", False),
        (r"\s+$", "search", False),
        (r"(?<!\s)\s+\.", "search", True),
        (r"a(?:[ab]*c)?", "search", False),
        (r"<[^>]*>", "search", False),
        (r"<[^<>]*>", "search", True),
        (r'"(?:[^"\\]|\\.)*"', "search", False),
        (r'"(?:[^"\\]|\\.)*"?', "search", True),
        (r"\((?:[^()\\]|\\.)*\)", "search", False),
        (r"(?m)^\s*x", "search", False),
        (r"(?m)^[ \t]*x", "search", True),
        (r"\ba+b", "search", True),
        # With a bound, but one that is too much.
        (r"a{0,2000}b", "search", False),
        (r"a{0,200}b", "search", True),
        (r"a{1,200}a{1,200}b", "match", True),
        (r"a{1,200}a{1,200}b", "search", False),
    ],
)
def test_the_proof_tells_what_is_linear_from_what_is_not(pattern: str, use: Use, is_linear: bool) -> None:
    assert (find_ambiguity(re.compile(pattern), use) is None) == is_linear
