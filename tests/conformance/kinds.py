"""What is under test: the kinds of transport that read mailboxes, what each can do, and the ways to a mailbox.

To enrol a kind: a line in KINDS, and its ways in WAYS. Everything else speaks the contract only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.imap_server import HOST, ImapServer
from transports.base import After

Ability = Literal[
    "folders",  # more than the INBOX
    "seen",  # settling as seen
    "keyword",  # settling with a keyword
    "move",  # settling by moving to a folder
    "live",  # what comes and goes is seen without another connection
    "told",  # waiting ends when mail comes, or the server goes, not only when it is time to look
    "validity",  # a folder that was made anew, or went back, is another one; elsewhere places are never used again
    "login",  # there is a server that may refuse, be gone, or show a certificate
]


@dataclass(frozen=True)
class Way:
    """One way to a mailbox: which kind reads it, from which server (a fixture), how secured."""

    kind: str
    server: str
    security: Literal["tls", "starttls", "none"]

    def __str__(self) -> str:
        return f"{self.kind}-{self.server}-{self.security}"


@dataclass(frozen=True)
class Kind:
    """What a kind can do, and what its settings need to reach a server."""

    abilities: frozenset[Ability]
    keys: Callable[[ImapServer, Way], Mapping[str, Any]]


def _imap(server: ImapServer, way: Way) -> Mapping[str, Any]:
    return {"host": HOST, "port": server.imaps if way.security == "tls" else server.imap, "security": way.security}


def _pop3(server: ImapServer, way: Way) -> Mapping[str, Any]:
    return {"host": HOST, "port": server.pop3s if way.security == "tls" else server.pop3, "security": way.security}


def _maildir(server: ImapServer, _: Way) -> Mapping[str, Any]:
    assert isinstance(server, Dovecot)
    return {"path": str(server.maildir("{mailbox}"))}


KINDS = {
    "imap": Kind(frozenset(["folders", "seen", "keyword", "move", "live", "told", "validity", "login"]), _imap),
    "pop3": Kind(frozenset(["login"]), _pop3),
    "maildir": Kind(frozenset(["folders", "seen", "move", "live", "told"]), _maildir),
}

WAYS = (
    Way("imap", "dovecot", "tls"),
    Way("imap", "dovecot", "starttls"),
    Way("imap", "cyrus", "tls"),
    Way("imap", "cyrus", "starttls"),
    Way("pop3", "dovecot", "tls"),
    Way("pop3", "dovecot", "starttls"),
    Way("pop3", "cyrus", "tls"),
    Way("pop3", "cyrus", "starttls"),
    # The mailboxes of a mail server that has them on disk.
    Way("maildir", "dovecot", "none"),
)


def every_way(*needed: Ability, fixture: str = "post") -> pytest.MarkDecorator:
    """Run a test for each way whose kind has these abilities."""
    ways = [way for way in WAYS if KINDS[way.kind].abilities.issuperset(needed)]
    return pytest.mark.parametrize(fixture, ways, indirect=True, ids=str)


def every_settling(*actions: str) -> pytest.MarkDecorator:
    """Run a test for each way, with each of these actions that its kind can do."""
    able = [
        (way, action)
        for way in WAYS
        for action in actions
        if After.parse(action).action in KINDS[way.kind].abilities | {"keep", "delete"}
    ]
    return pytest.mark.parametrize(("post", "action"), able, indirect=["post"], ids=str)
