"""Why a mail server does not take an email, as a class of a few words: what a log and a metric may say of it."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

NOT_COMPOSED: Final = "not composed"
"""No relay was asked: the email cannot be read, composed, or is too large for its profile."""
OTHER: Final = "other"

_BY_CODE: Final[Mapping[str, str]] = {
    "1.1": "mailbox unknown",
    "1.2": "domain unknown",
    "1.6": "mailbox unknown",
    "1.7": "sender refused",
    "1.8": "sender refused",
    "1.10": "domain unknown",
    "2.1": "mailbox disabled",
    "2.2": "mailbox full",
    "2.3": "size",
    "3.4": "size",
    "7.8": "login refused",
}
_BY_SUBJECT: Final[Mapping[str, str]] = {
    "1": "address",
    "2": "mailbox",
    "3": "mail system",
    "4": "network or routing",
    "5": "protocol",
    "6": "content",
    "7": "policy",
}
# RFC 5321 §4.2.3; 550 and 554 may mean anything.
_BY_REPLY: Final[Mapping[str, str]] = {"421": "mail system", "551": "mailbox unknown", "552": "size", "553": "address"}

CLASSES: Final = tuple(
    dict.fromkeys([*_BY_CODE.values(), *_BY_SUBJECT.values(), *_BY_REPLY.values(), NOT_COMPOSED, OTHER])
)
"""All that there are."""

_ENHANCED: Final = re.compile(r"[245]\.([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)


class _Lost(Protocol):
    @property
    def state(self) -> str: ...

    @property
    def code(self) -> str: ...


def class_of(code: str) -> str:
    """Name the class of an enhanced status code (RFC 3463, RFC 7505) or of a reply code; empty: no relay was asked."""
    if not code:
        return NOT_COMPOSED
    if enhanced := _ENHANCED.fullmatch(code):
        subject, detail = enhanced.groups()
        return _BY_CODE.get(f"{subject}.{detail}") or _BY_SUBJECT.get(subject, OTHER)
    return _BY_REPLY.get(code, OTHER)


def classes_of(outcomes: Iterable[_Lost]) -> list[str]:
    """Name the classes for which recipients were refused or deferred; first that of most recipients."""
    counts: dict[str, int] = {}
    for one in outcomes:
        if one.state in ("refused", "deferred"):
            name = class_of(one.code)
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])
