"""The token: the short code of an outgoing email by which its answer is correlated.

It stands in the subject (`Offer CRM:k3m9x2p7`), or in an address of the owner's (`sales+crm-k3m9x2p7@example.com`).
"""

import re
import secrets

from router.model import normalize

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1, which people confuse when they copy it by hand
LENGTH = 8

_TOKEN = re.compile(rf"(?<![a-z0-9])CRM:([{ALPHABET}]{{{LENGTH}}})(?![a-z0-9])", re.IGNORECASE | re.ASCII)
_TAG = re.compile(rf"([^@]+)\+crm-([{ALPHABET}]{{{LENGTH}}})(@[^@]+)", re.IGNORECASE | re.ASCII)


def new_token() -> str:
    """Make a token that nobody can guess: 40 random bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def find_tokens(subject: str) -> tuple[str, ...]:
    """Find every token of a subject in its order, each once, in lower case."""
    return tuple(dict.fromkeys(token.lower() for token in _TOKEN.findall(subject)))


def subject_with_token(subject: str, token: str) -> str:
    """Append `CRM:token`, unless the subject has it already (as an answer does)."""
    if token.lower() in find_tokens(subject):
        return subject
    return f"{subject.rstrip()} CRM:{token}".lstrip()


def untag(address: str) -> tuple[str, str | None]:
    """Split `sales+crm-k3m9x2p7@example.com` into the address without its tag, normalized, and the token.

    An address whose tag is none of ours, or that has none, comes back unchanged, without a token (RFC 5233 §1 names
    the parts).
    """
    found = _TAG.fullmatch(address.strip())
    if found is None:
        return address, None
    return normalize(found[1] + found[3]), found[2].lower()
