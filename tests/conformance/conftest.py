"""The mailbox that a test is about: `post` on a server that the whole session shares, `own_post` on one of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.kinds import Way
from tests.conformance.post import SECRET, Post
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.imap_server import PASSWORD, ImapServer
from tests.servers.tls import Tls


@pytest.fixture
def post(request: pytest.FixtureRequest, mailbox: str, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    monkeypatch.setenv(SECRET, PASSWORD)
    way: Way = request.param
    server: ImapServer = request.getfixturevalue(way.server)
    # It is on the server's disk once it was opened.
    server.count(mailbox)
    return Post(way, server, mailbox, ca_file)


@pytest.fixture
def own_post(
    request: pytest.FixtureRequest, tls: Tls, mailbox: str, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Post]:
    """For tests that kill it."""
    monkeypatch.setenv(SECRET, PASSWORD)
    way: Way = request.param
    server: ImapServer = {"dovecot": Dovecot, "cyrus": Cyrus}[way.server](tls)
    yield Post(way, server, mailbox, ca_file)
    server.close()
