"""Patterns of addresses: an address, a domain, or `*.` and a domain with all below it.

Never-track lists are made of them, and the conditions `to` and `from` of rules for records from mail.
"""

from collections.abc import Sequence
from typing import Final

from router.model.ids import normalize

_REGISTRIES: Final = frozenset({"ac", "co", "com", "edu", "go", "gob", "gov", "ne", "net", "or", "org"})
"""Below a country's domain these are nobody's, but one for all of a kind: `co.uk`, `com.br`."""


def patterns_of(address: str) -> Sequence[str]:
    """Name every pattern that matches a normalized address, the most exact first."""
    local, at, domain = address.rpartition("@")
    if not at:
        return ()
    domain = domain.rstrip(".")  # with a dot at its end it is the same domain
    address = f"{local}@{domain}"
    labels = domain.split(".")
    return (address, domain, *("*." + ".".join(labels[first:]) for first in range(len(labels))))


def parse_pattern(written: str) -> str:
    """Normalize a pattern as a person writes it. Raises ValueError, with words."""
    local, at, domain = written.strip().rpartition("@")
    below = "*." if not at and domain.startswith("*.") else ""
    domain = domain.removeprefix(below)
    normalized_local, _, domain = normalize(f"{local or 'anybody'}@{domain}").rpartition("@")
    domain = domain.removesuffix(".")
    whole = f"{normalized_local}@{domain}"
    if not all(domain.split(".")) or "*" in whole or any(one.isspace() for one in whole):
        raise ValueError(f'{written!r} is none of "ann@example.com", "example.com" and "*.example.com"')
    return whole if local else below + domain


def is_everybody(pattern: str) -> bool:
    """Whether a pattern names a domain below which anybody can have one, such as `com` or `*.co.uk`."""
    if "@" in pattern:
        return False
    labels = pattern.removeprefix("*.").split(".")
    return len(labels) == 1 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _REGISTRIES)
