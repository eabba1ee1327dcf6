"""Whose forwards are believed: anyone can write to a forward mailbox, and anything into the headers.

A forwarder has to be registered, and our own mail server must vouch for the address (RFC 8601):

| what passed | vouches where it is the same |
|---|---|
| `dmarc` | the domain that the server checked (`header.from`), and that of From |
| `dkim` | the domain of the signature (`header.d`), and that of From |
| `spf` | the domain of the envelope's sender (`smtp.mailfrom`), and the forwarder's |
| `auth` | the login (`smtp.auth`), and the forwarder's address, or what is before its @ if the login has none |

A journal report says in whose mailboxes a mail is, and in whose name it was sent, which no user may say of another's.
So its sender, which is a mail system, has to be named in full.

What was redirected keeps its author's From and signature, which say nothing of who passed it on: there only `spf` and
`auth` count. What the forwarded mail itself carries never does.
"""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from router.classify.authentication import Passed, find_passed
from router.classify.headers import Headers
from router.model import Message, normalize
from router.unwrap.found import Found

_OF_FROM = {"dmarc": "header.from", "dkim": "header.d"}
_OF_THE_WAY = {"spf": "smtp.mailfrom", "auth": "smtp.auth"}


@dataclass(frozen=True, slots=True)
class Trust:
    """What a profile says: the patterns of forwarders, and the server that must vouch (None: nobody has to).

    `catches_all`: nothing was forwarded, and the header `envelope_header` (in lower case) tells whose mail it is, below
    `envelope_below` lines of Received.
    """

    forwarders: tuple[str, ...]
    authserv: str | None
    catches_all: bool = False
    envelope_header: str = "delivered-to"
    envelope_below: int = 0


def find_doubt(found: Found, outer: Message, trust: Trust) -> str | None:
    """Say why a forward is not believed; None: it is. Names no address."""
    if not found.forwarder:
        return "it does not say who forwarded it"
    if not any(fnmatchcase(found.forwarder, pattern) for pattern in trust.forwarders):
        return "who sent it is none of the forwarders that the profile believes"
    if found.form == "journal" and not _is_named(found.forwarder, trust.forwarders):
        return "it is a journal report, and the forwarders of the profile do not name who sent it in full"
    if not found.redirected and len(outer.of("from")) > 1:
        return "it names several authors, so nobody can vouch for the forwarder"
    return None if trust.authserv is None else _doubt_of_server(found, outer, trust.authserv)


def _is_named(forwarder: str, patterns: Collection[str]) -> bool:
    """Whether a forwarder is named in full, and not by a pattern that all of a domain match."""
    return any(forwarder == pattern and not set("*?[") & set(pattern) for pattern in patterns)


def _doubt_of_server(found: Found, outer: Message, authserv: str) -> str | None:
    passed = find_passed(Headers(outer.headers), authserv)
    if passed is None:
        return "our mail server did not say who sent it: it has no Authentication-Results of ours on top"
    if not _vouched(found, passed):
        return "our mail server's Authentication-Results do not vouch for the forwarder's address"
    return None


def _vouched(found: Found, passed: Collection[Passed]) -> bool:
    counts = _OF_THE_WAY if found.redirected else _OF_FROM | _OF_THE_WAY
    domain = _domain(found.forwarder)
    for one in passed:
        written = one.properties.get(counts.get(one.method, ""))
        if written and (_is_login(written, found.forwarder) if one.method == "auth" else _domain(written) == domain):
            return True
    return False


def _is_login(login: str, address: str) -> bool:
    return normalize(login) == (address if "@" in login else address.rpartition("@")[0])


def _domain(written: str) -> str:
    return normalize("@" + written.rpartition("@")[2])
