"""The rules for records from mail of one file, or of one row of the database, with all that is wrong with them."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from router.creation_rule import RuleKeys, check_rule
from router.errors import Mistake, ProfileErrors
from router.model import CreationRule
from router.profile.draft import parse_toml
from router.profile.keys import keys
from router.profile.lines import KeyPath
from router.profile.rules import Create, OnNew, check_rules, rules_from
from router.profile.words import explain, loose
from transports import Settings

_KEYS: Final = ("create", "on_new")


class _Rules(Settings):
    create: Create = ()
    on_new: OnNew | None = None


def read_rules(file: str, content: bytes, profile: str) -> tuple[CreationRule, ...]:
    """Read the rules of a TOML file: its `[[create]]` tables and `on_new`, or those of the incoming profile in it.

    What else a profile says is not looked at. Raises ProfileErrors with every mistake.
    """
    parsed = parse_toml(file, content)
    if isinstance(parsed, Mistake):
        raise ProfileErrors([parsed])
    document, lines = parsed
    prefix, table = _find(document, profile)
    if table is None:
        words = f"there are no rules in it: write [[create]] above each, or [[incoming.{profile}.create]]"
        raise ProfileErrors([Mistake(file, 1, words)])
    known = keys(_Rules)
    found = [*loose(table, known), *check_rules(table)]
    rules = None
    try:
        rules = _Rules.model_validate(table)
    except ValidationError as error:
        told = list(explain(error, known))
        found = told + [(path, words) for path, words in found if path not in dict(told)]
    if rules is None or found:
        raise ProfileErrors([Mistake(file, _line(lines, (*prefix, *path)), words) for path, words in found])
    return rules_from(rules.create, rules.on_new, "the file")


def faults_of(rule: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with one rule, given by its keys."""
    try:
        RuleKeys.model_validate(rule)
    except ValidationError as error:
        return [words for _, words in explain(error, keys(RuleKeys))]
    return [words.removeprefix("create.") for _, words in check_rule(rule)]


def _find(document: Mapping[str, Any], profile: str) -> tuple[KeyPath, Mapping[str, Any] | None]:
    """Find the table that has the rules, and its path. Beside `[[create]]` nothing else may stand in the file."""
    if any(key in document for key in _KEYS):
        return (), document
    profiles = document.get("incoming")
    table = profiles.get(profile) if isinstance(profiles, dict) else None
    if not isinstance(table, dict):
        return (), None
    return ("incoming", profile), {key: table[key] for key in _KEYS if key in table}


def _line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
