"""What an answer that the router writes is made of, and what is made of that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

LONGEST_VALUE: Final = 400
"""Characters of a value that somebody else wrote, such as a subject; the rest is left out."""


class TemplateText(NamedTuple):
    """What a template says, in Jinja2; one of `text` and `html` may be None."""

    subject: str
    text: str | None
    html: str | None


@dataclass(frozen=True, slots=True)
class Values:
    """What a template can name: `record`, `email` and `owner` with their fields, `token`, and the owner's signature."""

    record: Mapping[str, str]
    email: Mapping[str, str]
    owner: Mapping[str, str]
    token: str
    signature_text: str | None = None
    signature_html: str | None = None


class Rendered(NamedTuple):
    """The texts of an answer; one of `text` and `html` may be None."""

    subject: str
    text: str | None
    html: str | None
