"""Settings of kinds that somebody adds: without a server, without ports, without a key that is required."""

from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from pydantic import ValidationError

import transports
from router.profile.schema import schema
from transports import MailboxKind, MailboxSettings, RelayServerSettings, Tokens
from transports._settings import MailboxServerSettings, Security
from transports.base import Account, After, Finding


class Plain(MailboxSettings):
    """Mailboxes for which nothing needs to be said."""

    @property
    def at_once(self) -> int:
        return 1

    @property
    def where(self) -> str:
        return "the only place there is"

    def account_of(self, mailbox: str) -> str:
        return f"plain:{mailbox}"


class Portless(RelayServerSettings):
    """A relay whose protocol has no port of its own."""


class OnePort(RelayServerSettings):
    """A relay whose protocol has a port for one kind of security."""

    ports: ClassVar[Mapping[Security, int]] = {"tls": 465}


class PortlessMailbox(MailboxServerSettings):
    """Mailboxes on a server whose protocol has no port of its own."""

    @property
    def where(self) -> str:
        return self.server

    def account_of(self, mailbox: str) -> str:
        return f"portless:{mailbox}"


@pytest.mark.parametrize("model", [Portless, PortlessMailbox])
def test_without_a_port_of_its_own_a_kind_asks_for_one(model: type[Portless | PortlessMailbox]) -> None:
    with pytest.raises(ValidationError, match="port is missing: this transport has none of its own"):
        model(host="mail.example.com")
    assert model(host="mail.example.com", port=99).where == "mail.example.com:99 with tls"


def test_a_port_for_one_security_is_none_for_another() -> None:
    assert OnePort(host="mail.example.com").where == "mail.example.com:465 with tls"
    with pytest.raises(ValidationError, match='none of its own for security = "starttls"'):
        OnePort(host="mail.example.com", security="starttls")


def test_the_schema_takes_a_kind_for_which_nothing_needs_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_account(settings: Plain, mailbox: str, after: After, tokens: Tokens) -> Account:
        raise AssertionError(settings, mailbox, after, tokens)

    def probe(settings: Plain, mailbox: str | None, after: After, tokens: Tokens) -> AsyncIterator[Finding]:
        raise AssertionError(settings, mailbox, after, tokens)

    kind = MailboxKind("plain", Plain, open_account, probe)
    monkeypatch.setattr("transports.kinds", lambda: ("plain",))
    monkeypatch.setattr("transports.load", lambda name: transports.Transport(name, kind, None))
    assert schema()["$defs"]["incoming_plain"]["required"] == ["transport"]
