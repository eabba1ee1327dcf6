"""Logins by access token at real servers: Dovecot by IMAP and POP3, and Postfix, which asks Dovecot."""

from typing import Any

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls
from tests.support.kept_tokens import OAUTH2, KeptTokens
from transports import MailboxKind, load
from transports._net import sasl
from transports.base import After, Envelope, Sender
from transports.errors import Unauthorized

KEEP = After("keep")


def keys(dovecot: Dovecot, tls: Tls, kind: str) -> dict[str, Any]:
    port = {"imap": dovecot.imaps, "pop3": dovecot.pop3s}[kind]
    auth = {"user": "{mailbox}", "oauth2": OAUTH2}
    return {"host": "localhost", "port": port, "ca_file": tls.ca_file, "auth": auth, "timeout": 20}


def mailbox_kind(name: str) -> MailboxKind[Any]:
    kind = load(name).incoming
    assert isinstance(kind, MailboxKind)
    return kind


@pytest.fixture(params=["XOAUTH2", "OAUTHBEARER"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one that is used, though the server offers both."""
    name: str = request.param
    choose = sasl.choose

    def choose_one(offered: Any, *arguments: Any, **keywords: Any) -> sasl.Mechanism | None:
        assert {"XOAUTH2", "OAUTHBEARER"} <= set(offered)
        return choose([name], *arguments, **keywords)

    monkeypatch.setattr(sasl, "choose", choose_one)
    return name


@pytest.mark.usefixtures("mechanism")
@pytest.mark.parametrize("name", ["imap", "pop3"])
async def test_a_mailbox_is_opened_by_a_token(dovecot: Dovecot, tls: Tls, mailbox: str, name: str) -> None:
    kind = mailbox_kind(name)
    settings = kind.settings.model_validate(keys(dovecot, tls, name))
    tokens = KeptTokens(dovecot.token(mailbox))
    async with kind.open(settings, mailbox, KEEP, tokens) as account:
        assert await account.counts() is not None
    assert tokens.asked == [mailbox]
    assert tokens.refusals == []


@pytest.mark.usefixtures("mechanism")
@pytest.mark.parametrize("name", ["imap", "pop3"])
async def test_an_expired_token_is_followed_by_another(dovecot: Dovecot, tls: Tls, mailbox: str, name: str) -> None:
    kind = mailbox_kind(name)
    settings = kind.settings.model_validate(keys(dovecot, tls, name))
    expired = dovecot.token(mailbox, lifetime=-60)
    tokens = KeptTokens(expired, dovecot.token(mailbox))
    async with kind.open(settings, mailbox, KEEP, tokens):
        assert tokens.refusals == [expired]


@pytest.mark.usefixtures("mechanism")
@pytest.mark.parametrize("name", ["imap", "pop3"])
async def test_a_token_that_is_refused_is_told_of_and_not_told(
    dovecot: Dovecot, tls: Tls, mailbox: str, name: str
) -> None:
    kind = mailbox_kind(name)
    settings = kind.settings.model_validate(keys(dovecot, tls, name))
    expired = dovecot.token(mailbox, lifetime=-60)
    with pytest.raises(Unauthorized, match="refuses the login of") as caught:
        async with kind.open(settings, mailbox, KEEP, KeptTokens(expired, renews=False)):
            pass
    assert expired not in str(caught.value)
    found = [one async for one in kind.probe(settings, mailbox, KEEP, KeptTokens(expired, renews=False))]
    assert (found[-1].step, found[-1].state) == ("login", "failed")
    assert expired not in repr(found)


@pytest.mark.usefixtures("mechanism")
async def test_postfix_takes_a_token(postfix: Postfix, dovecot: Dovecot, tls: Tls, mailbox: str) -> None:
    kind = load("smtp").outgoing
    assert kind is not None
    settings = kind.settings.model_validate(
        {
            "host": "localhost",
            "port": postfix.submission,
            "security": "starttls",
            "ca_file": tls.ca_file,
            "auth": {"user": "{mailbox}", "oauth2": OAUTH2},
            "timeout": 20,
        }
    )
    tokens = KeptTokens(dovecot.token(mailbox, lifetime=-60), dovecot.token(mailbox))

    async def begin() -> None:
        """There is nothing to note."""

    async with kind.open(settings, tokens) as relay:
        mail = Envelope(mailbox, ("carl@kunde.test",), b"Subject: a\r\n\r\nb\r\n", mailbox=mailbox)
        (outcome,) = await relay.send(mail, begin)
    assert outcome.state == "accepted", outcome
    assert len(tokens.refusals) == 1
    found = [one async for one in kind.probe(settings, [Sender(mailbox, mailbox)], KeptTokens(dovecot.token(mailbox)))]
    assert {one.state for one in found} == {"ok"}
