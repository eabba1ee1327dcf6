"""Every regular expression of the router and its transports, and how each is used."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import router
import transports
from tests.support.ambiguity import Use
from tests.support.paths import ROOT

_AS_WRITTEN = {"pattern", "flags"}  # attributes that ask for nothing


@dataclass(frozen=True)
class Used:
    """A pattern by its module and the name it has there, and how it is used."""

    name: str
    pattern: "re.Pattern[Any]"
    use: Use


def patterns() -> Iterator[Used]:
    """Every pattern that is a global of a module of ours, or lies within one."""
    uses = _uses()
    seen: set[int] = set()
    for module in _modules():
        for name, value in vars(importlib.import_module(module)).items():
            for number, pattern in enumerate(_within(value)):
                if id(pattern) not in seen and (module, name) in uses:
                    seen.add(id(pattern))
                    is_one = isinstance(value, re.Pattern)
                    use = _strictest(uses[module, name]) if is_one else "search"
                    yield Used(f"{module}.{name}" + ("" if is_one else f"[{number}]"), pattern, use)


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of ours, by its name, and its tree."""
    for folder in ("router", "transports"):
        for file in sorted(Path(ROOT, folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), ast.parse(file.read_text(encoding="utf-8"))


def _modules() -> list[str]:
    found = [
        module.name
        for package in (router, transports)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return [name for name in found if not name.endswith(("__main__", "hand_in"))]  # these are programs


def _within(value: object) -> Iterator["re.Pattern[Any]"]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list | frozenset | set):
        for one in value:
            yield from _within(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _within(one)


def _strictest(asked: set[str]) -> Use:
    if asked - {"match", "fullmatch"} or not asked:
        return "search"
    return "whole" if "fullmatch" in asked else "match"


def _uses() -> dict[tuple[str, str], set[str]]:
    """What is asked of each global, by the module that it is of and its name; what is unknown counts as a search."""
    uses: dict[tuple[str, str], set[str]] = {}
    trees = dict(sources())
    for module, tree in trees.items():
        for statement in tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                uses |= {(module, target.id): set() for target in targets if isinstance(target, ast.Name)}
    for module, tree in trees.items():
        origin = {
            name.asname or name.name: (node.module or "", name.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }
        asked = {
            id(node.value): node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                of = origin.get(node.id, (module, node.id))
                if of in uses and (how := asked.get(id(node), "unknown")) not in _AS_WRITTEN:
                    uses[of].add(how)
    return uses
