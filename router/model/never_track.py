"""Patterns of addresses whose mail is never tracked: an address, a domain, or `*.` and a domain with all below it."""

from collections.abc import Sequence

from router.model.ids import normalize


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
    normalized = normalize(f"{local or 'anybody'}@{domain}")
    _, _, normalized_domain = normalized.rpartition("@")
    if not normalized_domain.strip(".") or "*" in normalized or any(one.isspace() for one in normalized):
        raise ValueError(f'{written!r} is none of "ann@example.com", "example.com" and "*.example.com"')
    return normalized if local else below + normalized_domain
