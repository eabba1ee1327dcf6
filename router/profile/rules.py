"""The rules for records from mail, as a profile writes them: `[[incoming.NAME.create]]` tables, and `on_new`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from router.creation_rule import MOST, RuleKeys, at_most, check_rule, make_rule
from router.model import CreationRule
from router.profile.lines import KeyPath

OnNew = Literal["case", "contact", "lead"]


def _tables(value: Any) -> Any:
    # Pydantic's own words would ask for a list of texts.
    if not isinstance(value, list | tuple) or not all(isinstance(one, dict) for one in value):
        raise ValueError("must be tables, each of which begins with [[incoming.NAME.create]]")
    return value


Create = Annotated[tuple[RuleKeys, ...], BeforeValidator(_tables), AfterValidator(at_most(MOST, "rules"))]


def check_rules(table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what does not go together in a profile's rules: the key's path in the table, and words.

    Other keys of the table may be wrong, and are told elsewhere.
    """
    rules = table.get("create")
    seen = {"on_new"} if "on_new" in table else set[str]()
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, dict):
            continue
        path: KeyPath = ("create", index)
        name = rule.get("name")
        if isinstance(name, str) and name.strip() in seen:
            yield (*path, "name"), "create.name: another rule of this profile has this name"
        seen.add(str(name).strip())
        yield from (((*path, key), words) for key, words in check_rule(rule))


def rules_from(create: Sequence[RuleKeys], on_new: OnNew | None, kept_in: str) -> tuple[CreationRule, ...]:
    """Make the rules that are `kept_in` a profile or a file, in their order; `on_new` is a last one, for all mail."""
    rules = tuple(make_rule(one, kept_in) for one in create)
    return (*rules, CreationRule("on_new", on_new, kept_in=kept_in)) if on_new else rules
