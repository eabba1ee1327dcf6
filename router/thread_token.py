"""The token: the short code in an outgoing subject (`Offer CRM:k3m9x2p7`) by which its answer is correlated."""

import re
import secrets

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1, which people confuse when they copy it by hand
LENGTH = 8

_TOKEN = re.compile(rf"(?<![a-z0-9])CRM:([{ALPHABET}]{{{LENGTH}}})(?![a-z0-9])", re.IGNORECASE | re.ASCII)


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
