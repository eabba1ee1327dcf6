"""What is wrong with a file that is not TOML, in words for an admin: most often, text without quotes.

A value is repeated only where its key is known and has nothing to do with a secret.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydantic.fields import FieldInfo

from router.profile.keys import models
from router.profile.words import SCALARS, scalar_of, types_of
from transports import Secret

_WORDS: Final = {
    "Illegal character '\\n'": "a quote is opened and not closed in its line",
    "Cannot overwrite a value": "this key is written twice",
    "Expected '=' after a key in a key/value pair": 'a key is followed by "=" and its value, as in '
    'host = "mail.example.com"',
}
_VALUE_EXPECTED: Final = {
    "Invalid value",
    "Expected newline or end of document after a statement",
    "Unclosed array",
    "Unclosed inline table",
    "Expected '=' after a key in a key/value pair",  # user = {mailbox}
}
_BARE: Final = re.compile(r"[^\s\[\]{}=,\"'#]")
_VALUE: Final = re.compile(r"(?:\{\w+\}|[^\s\[\]{}=,\"'#])*")
_LINE: Final = re.compile(r"[^#]*")
_STATEMENT: Final = re.compile(r"\s*[\w.-]+\s*=\s*+(?![\[\"']|\{(?!\w+\}))")
"""A key whose value takes the rest of the line: not in quotes, no array, no table."""
_KEY: Final = re.compile(r"([A-Za-z0-9_-]+)\s*=[^=]*$")
_CURLY_QUOTES: Final = "“”„‟«»‘’‚"  # noqa: RUF001  # what word processors make of quotes


def explain_syntax(text: str, message: str, known: Mapping[str, FieldInfo]) -> tuple[int, str]:
    """Return the line, from 1, and the words for what tomllib says of a text.

    `known` are the keys that some profile may have, each by the last part of its name.
    """
    text = text.replace("\r\n", "\n")
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    lines = text.rstrip().split("\n")
    line = int(place[1]) if place and place[1] else len(lines)
    at = int(place[2]) - 1 if place and place[2] else len(lines[-1])
    what = message[: place.start()] if place else message
    twice = re.fullmatch(r"Cannot declare \((.*?),?\) twice", what)
    if twice:
        table = ".".join(re.findall(r"'([^']*)'", twice[1]))
        return line, f"[{table}] is written twice in this file"
    words = _WORDS.get(what) or f"this is not TOML: {what[:1].lower()}{what[1:]}"
    if what in _VALUE_EXPECTED and (start := _value_start(lines[line - 1], at)) is not None:
        above = "\n".join([*lines[: line - 1], lines[line - 1][:start]])
        if unquoted := _unquoted(above, lines[line - 1][start:], known):
            return line, f"{unquoted} (column {start + 1})"
    return line, words + (f" (column {at + 1})" if place and place[2] else " (end of the file)")


def _value_start(line: str, at: int) -> int | None:
    """Find the start of the value in which the parser failed at this column; None if it failed elsewhere."""
    if statement := _STATEMENT.match(line):
        return statement.end()
    if placeholder := re.search(r"\{\w+$", line[:at]):  # user = {mailbox}
        at = placeholder.start()
    while at > 0 and _BARE.fullmatch(line[at - 1]):
        at -= 1
    return at if line[:at].rstrip()[-1:] in ("=", "[", ",", "") else None


def _unquoted(above: str, rest: str, known: Mapping[str, FieldInfo]) -> str | None:
    """Explain the value without quotes with which the rest of a line begins; None if there is no such value."""
    key = _KEY.search(above)
    if key is None:
        return None
    is_statement = _STATEMENT.fullmatch(above.rpartition("\n")[2]) is not None
    found = (_LINE if is_statement else _VALUE).match(rest)
    value = found[0].strip().strip(_CURLY_QUOTES) if found else ""
    if value:
        return _advice(key[1], value, known.get(key[1]))
    return f'there is no value after "{key[1]} ="' if above.rstrip().endswith("=") else None


def _advice(key: str, value: str, field: FieldInfo | None) -> str:
    if field is None:
        return 'text needs quotes, as in host = "mail.example.com"'
    types = types_of(field)
    if kind := scalar_of(field):
        return f"{key} {SCALARS[kind]}"
    if Secret in types:
        return f'{key}: a secret is never written here: use {{ env = "NAME" }} or {{ file = "/path" }}'
    if any(models(field.annotation)):
        return f"{key} must be a table, such as {{ key = value }}"
    if key in Secret.model_fields:
        return f'text needs quotes: {key} = "…"'
    return f'text needs quotes: {key} = ["{value}"]' if tuple in types else f'text needs quotes: {key} = "{value}"'
