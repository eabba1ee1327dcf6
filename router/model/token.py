"""The token: the short code of an outgoing email by which its answer is correlated.

It stands in the subject (`Offer CRM:k3m9x2p7`), or in an address of the owner's (`sales+crm-k3m9x2p7@example.com`).
The CRM before this one may have written tokens of its own: a prefix and digits. Dynamics makes them of the prefix
(`CRM:` by default), the base number of the deployment, the number of the user and a counter of the user's emails, which
begins anew when its digits are used up: `CRM:0001001`.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Final, NamedTuple

from router.model.ids import normalize

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1, which people confuse when they copy it by hand
LENGTH = 8
PREFIX: Final = "CRM:"
"""What stands before the token in a subject, unless another prefix is set."""

_CODE = re.compile(rf"([{ALPHABET}]{{{LENGTH}}})(?![a-z0-9])", re.ASCII)
_DIGITS = re.compile(r"([0-9]{3,30})(?![a-z0-9])", re.ASCII)
_TAG = re.compile(rf"([^@]+)\+crm-([{ALPHABET}]{{{LENGTH}}})(@[^@]+)", re.IGNORECASE | re.ASCII)
_PREFIX = re.compile(r"[!-~]{0,19}[!-/:-@\[-`{-~]", re.ASCII)
_LEGACY = re.compile(r"([^\x00-\x1f\x7f]{0,69}[^\x00-\x1f\x7f0-9])?([0-9]{3,30})", re.ASCII)
_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)  # `lower` changes the length of some letters
_LONGEST_SUBJECT = 2_000  # characters in which other prefixes than ours are looked for


class LegacyFormat(NamedTuple):
    """What the tokens of another CRM look like: a prefix, and so many digits."""

    prefix: str
    digits: int


def new_token() -> str:
    """Make a token that nobody can guess: 40 random bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def find_tokens(subject: str, prefixes: Sequence[str] = (PREFIX,)) -> tuple[str, ...]:
    """Find every token of a subject in its order, each once, in lower case."""
    found = [one for prefix in prefixes for one in _behind(subject, prefix, _CODE)]
    return tuple(dict.fromkeys(token for _, token in sorted(found)))


def find_set_tokens(subjects: Sequence[str], prefixes: Sequence[str]) -> tuple[str, ...]:
    """Find the tokens with prefixes that are set: in the beginnings of these texts, by another prefix than ours."""
    others = [prefix for prefix in prefixes if prefix != PREFIX]
    found = (token for subject in subjects for token in find_tokens(subject[:_LONGEST_SUBJECT], others))
    return tuple(dict.fromkeys(found)) if others else ()


def find_legacy_tokens(subjects: Sequence[str], formats: Sequence[LegacyFormat]) -> tuple[str, ...]:
    """Find the tokens of another CRM in the beginnings of these texts, each once, in lower case with their prefix."""
    return tuple(
        dict.fromkeys(
            prefix.translate(_SMALL) + digits
            for subject in subjects
            for prefix, count in formats
            for _, digits in _behind(subject[:_LONGEST_SUBJECT], prefix, _DIGITS)
            if len(digits) == count
        )
    )


def _behind(text: str, prefix: str, code: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Yield where the code stands behind the prefix, in whatever case, and the code."""
    text, prefix = text.translate(_SMALL), prefix.translate(_SMALL)
    is_word = prefix[:1].isascii() and prefix[:1].isalnum()
    at = text.find(prefix)
    while at >= 0:
        before = text[at - 1 : at]
        found = code.match(text, at + len(prefix))
        if found and not (is_word and before.isascii() and before.isalnum()):
            yield at, found[1]
        at = text.find(prefix, at + 1)


def is_prefix(text: str) -> bool:
    """Whether tokens may have this prefix: 1 to 20 printable ASCII characters, the last neither letter nor digit."""
    return _PREFIX.fullmatch(text) is not None


def legacy_format(example: str) -> LegacyFormat | None:
    """Read a format off one of its tokens: `CRM:0001001` has the prefix `CRM:` and seven digits. None for no token."""
    found = _LEGACY.fullmatch(example)
    return LegacyFormat(found[1], len(found[2])) if found and found[1] else None


def subject_with_token(subject: str, token: str, prefix: str | None = PREFIX) -> str:
    """Append `CRM:token`, unless the subject has it already (as an answer does), or no prefix says that it has one."""
    if prefix is None or token.lower() in find_tokens(subject, (PREFIX, prefix)):
        return subject
    return f"{subject.rstrip()} {prefix}{token}".lstrip()


def untag(address: str) -> tuple[str, str | None]:
    """Split `sales+crm-k3m9x2p7@example.com` into the address without its tag, normalized, and the token.

    An address whose tag is none of ours, or that has none, comes back unchanged, without a token (RFC 5233 §1 names
    the parts).
    """
    found = _TAG.fullmatch(address.strip())
    if found is None:
        return address, None
    return normalize(found[1] + found[3]), found[2].lower()
