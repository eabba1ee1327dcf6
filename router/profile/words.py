"""Puts what pydantic found wrong with a profile into plain words. A value is never repeated: it may be a secret."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from router.profile.lines import KeyPath

SCALARS: Final[Mapping[type[bool | int | float], str]] = {
    bool: "must be true or false",
    int: "must be a whole number",
    float: "must be a number",
}
"""Words for what a value without quotes must be, by its type."""

_WORDS = {
    "bool_parsing": SCALARS[bool],
    "bool_type": SCALARS[bool],
    "float_parsing": SCALARS[float],
    "float_type": SCALARS[float],
    "int_from_float": SCALARS[int],
    "int_parsing": SCALARS[int],
    "int_type": SCALARS[int],
    "ip_any_network": 'must be a network, such as "172.18.0.0/16"',
    "model_type": "must be a table, such as { key = value }",
    "path_type": "must be a path in quotes",
    "string_too_short": "must not be empty",
    "string_type": "must be text in quotes",
    "too_short": "must not be empty",
    "tuple_type": 'must be a list, such as ["one", "two"]',
}
RENAMED = {"auth.authorise": "auth.act_as"}
"""Keys that were renamed: old name → new name. The old name is a mistake that tells the new one."""

_RANGES = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def explain(error: ValidationError, known: Mapping[str, FieldInfo]) -> Iterator[tuple[KeyPath, str]]:
    """Yield each mistake: the key's path in the table, and words.

    `known` are all keys that could stand in the table. A key that seems to be misspelled is not told missing as well.
    """
    faults = [(fault["loc"], fault) for fault in error.errors(include_url=False, include_input=False)]
    misspelled = {suggest(dotted(path), known) for path, fault in faults if fault["type"] == "extra_forbidden"}
    for path, fault in faults:
        key = dotted(path)
        if fault["type"] == "missing" and key in misspelled:
            continue
        if fault["type"] == "too_short" and any(path == inner[:-1] for inner, _ in faults):
            continue  # pydantic counts only the members that are right
        words = unknown(key, known) if fault["type"] == "extra_forbidden" else _words(fault, key, known)
        yield path, words


def loose(table: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> Iterator[tuple[KeyPath, str]]:
    """Yield values of the wrong type that pydantic converts: "993" for 993, or 1 for true."""
    for key, field in known.items():
        path = tuple(key.split("."))
        value: Any = table
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        kind = scalar_of(field)
        if kind is None or value is None or type(value) in (kind, int if kind is float else kind):
            continue
        yield path, f"{key} {SCALARS[kind]}" + (", without quotes" if isinstance(value, str) else "")


def scalar_of(field: FieldInfo) -> type[bool | int | float] | None:
    """The type of a value that stands without quotes; None for all others."""
    types = types_of(field)
    return next((kind for kind in SCALARS if kind in types and str not in types), None)


def types_of(field: FieldInfo) -> set[Any]:
    """The types that a value may have: the members of a union, without what they hold."""

    def members(annotation: Any) -> Iterator[Any]:
        origin = get_origin(annotation)
        if origin in (Union, UnionType):
            for member in get_args(annotation):
                yield from members(member)
        else:
            yield origin or annotation

    return set(members(field.annotation))


def dotted(path: KeyPath) -> str:
    """Write a path as TOML would, without the indexes of arrays."""
    return ".".join(step for step in path if isinstance(step, str))


def unknown(key: str, known: Collection[str]) -> str:
    """Say that a key is unknown, or has another name now, and what may have been meant."""
    if (renamed := RENAMED.get(key)) in known:
        return f"{key} is called {renamed} now"
    meant = suggest(key, known)
    return f'unknown key "{key}"' + (f'; did you mean "{meant}"?' if meant else "")


def suggest(key: str, known: Collection[str]) -> str | None:
    """Find the key that was meant: one spelled alike in the same table, else the same one of another table."""
    table, _, name = key.rpartition(".")
    alike = {known_key.rpartition(".")[2]: known_key for known_key in known if known_key.rpartition(".")[0] == table}
    for close in get_close_matches(name.lower(), alike, n=1, cutoff=0.75):
        return alike[close]
    return next((known_key for known_key in known if known_key.rpartition(".")[2] == name), None)


def _words(fault: ErrorDetails, key: str, known: Mapping[str, FieldInfo]) -> str:
    kind = fault["type"]
    context = fault.get("ctx", {})
    if kind == "missing":
        meaning = (known[key].description or "") if key in known else ""
        words = f"is missing: {meaning}".replace("`", "").removesuffix(": ")
    elif kind == "value_error":
        words = str(context["error"])
    elif kind in ("literal_error", "enum"):
        words = f"must be {context['expected']}".replace("'", '"')
    elif kind in _RANGES and key in known:
        words = f"must be {_range(known[key])}"
    else:
        words = _WORDS.get(kind) or fault["msg"].replace("Input should", "must")
    if not key:
        return words
    return f"{key} {words}" if words.startswith(("must ", "is ")) else f"{key}: {words}"


def _range(field: FieldInfo) -> str:
    words = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=number):
                words.append(f"at least {number}")
            case Gt(gt=number):
                words.append(f"more than {number}")
            case Le(le=number):
                words.append(f"at most {number}")
            case Lt(lt=number):
                words.append(f"less than {number}")
    return re.sub(r"^at least (.*) and at most", r"between \1 and", " and ".join(words))
