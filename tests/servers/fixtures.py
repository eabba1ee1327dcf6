"""Real mail servers for tests, as a pytest plugin: private to each xdist worker, started when first asked for.

A mailbox is whatever address a test makes up; `new_mailbox` makes up one that no other test has.
"""

import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.servers.authorization import AuthorizationServer
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.exim import Exim
from tests.servers.imap_server import ImapServer
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls, make_tls

_LOG_TAIL = 20_000
_started = pytest.StashKey[dict[str, ImapServer | Postfix | Exim]]()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def ca_file(tls: Tls) -> Path:
    """What to trust."""
    return tls.ca_file


@pytest.fixture(scope="session")
def dovecot(tls: Tls, pytestconfig: pytest.Config) -> Iterator[Dovecot]:
    server = Dovecot(tls)
    pytestconfig.stash.setdefault(_started, {})["dovecot"] = server
    yield server
    server.close()


@pytest.fixture(scope="session")
def cyrus(tls: Tls, pytestconfig: pytest.Config) -> Iterator[Cyrus]:
    server = Cyrus(tls)
    pytestconfig.stash.setdefault(_started, {})["cyrus"] = server
    yield server
    server.close()


@pytest.fixture(scope="session")
def postfix(tls: Tls, dovecot: Dovecot, pytestconfig: pytest.Config) -> Iterator[Postfix]:
    server = Postfix(tls, dovecot)
    pytestconfig.stash.setdefault(_started, {})["postfix"] = server
    yield server
    server.close()


@pytest.fixture(scope="session")
def exim(tls: Tls, pytestconfig: pytest.Config) -> Iterator[Exim]:
    server = Exim(tls)
    pytestconfig.stash.setdefault(_started, {})["exim"] = server
    yield server
    server.close()


@pytest.fixture
def authorization(dovecot: Dovecot, tls: Tls, tmp_path: Path) -> Iterator[AuthorizationServer]:
    """An authorization server of the test's own, over TLS, whose tokens open Dovecot's mailboxes."""
    server = AuthorizationServer(tmp_path, dovecot.token, tls=tls, certificate=tls.certificate)
    yield server
    server.close()


@pytest.fixture
def new_mailbox() -> Callable[[str], str]:
    """`new_mailbox("alice")` → `alice-3f9c2a71@in.test`, which both servers have and Postfix delivers to Dovecot's."""

    def make(name: str) -> str:
        return f"{name}-{secrets.token_hex(4)}@in.test"

    return make


@pytest.fixture
def mailbox(new_mailbox: Callable[[str], str]) -> str:
    """A mailbox of this test's own."""
    return new_mailbox("mailbox")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the servers' logs with the tests that failed using them."""
    report = yield
    if report.failed:
        for name, server in item.config.stash.get(_started, {}).items():
            if name in getattr(item, "fixturenames", ()):
                report.sections.append((f"{name} log", server.log()[-_LOG_TAIL:]))
    return report
