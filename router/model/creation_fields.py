"""What a new record is filled with: templates in which words in braces stand for what the message says.

    {subject}         its subject
    {sender_name}     the sender's name, or else what stands before the @ of the address
    {sender_address}  the sender's address
    {sender_domain}   what stands behind the @

There is nothing else to a template: no code, no attributes, no formats. `{{` and `}}` are braces.
"""

from collections.abc import Mapping
from string import Formatter
from typing import Final

PLACES: Final = ("subject", "sender_name", "sender_address", "sender_domain")
"""The words that may stand in braces."""

LONGEST: Final = 500
"""Characters of a field that is filled; what is longer is cut."""


def check_template(template: str) -> None:
    """Raise ValueError, in words, for a template that cannot be filled."""
    known = "{" + "}, {".join(PLACES[:-1]) + "} and {" + PLACES[-1] + "}"
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        parts = [("", None, "", "?")]
    for _, name, form, conversion in parts:
        if conversion or form or (name is not None and name not in PLACES):
            raise ValueError(f"in braces stand {known}, and nothing else; write a brace twice to have it as text")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill a template that was checked; `values` by the words in braces. No value is filled in turn."""
    filled = (text + (values[name] if name else "") for text, name, _, _ in Formatter().parse(template))
    return "".join(filled).strip()[:LONGEST].rstrip()
