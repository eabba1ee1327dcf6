"""Probing relays that refuse, or cannot do what the profile wants; the real Postfix is in test_test_command.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, ScriptedSmtp
from transports.base import Finding
from transports.smtp.probe import probe_relay
from transports.smtp.settings import SmtpRelaySettings

SECRET = "a-secret-of-the-tests"
AUTH = {"user": "crm", "password": {"env": "RELAY_TEST_PASSWORD"}}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TEST_PASSWORD", SECRET)


async def probed(
    script: Mapping[str, str] | None = None, offers: Sequence[str] = ("SIZE 20000000",), **keys: Any
) -> tuple[dict[str, Finding], list[list[str]]]:
    """The finding of each step, and what the relay heard."""
    async with ScriptedSmtp(script, offers) as relay:
        settings = SmtpRelaySettings.model_validate(
            {"host": "127.0.0.1", "port": relay.port, "security": "none", "timeout": 20, **keys}
        )
        found = {one.step: one async for one in probe_relay(settings)}
    return found, relay.commands


async def test_a_relay_that_trusts_our_address() -> None:
    found, heard = await probed()
    assert {one.state for one in found.values()} == {"ok"}
    assert found["login"].words == "the profile has none: the relay has to trust this machine's address"
    assert found["capabilities"].words == "ENHANCEDSTATUSCODES, messages of 20.0 MB at most"
    assert [line.split()[0] for line in heard[0]] == ["EHLO", "QUIT"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"greeting": "554 5.7.1 You are not welcome"}, "554 5.7.1 You are not welcome"),
        ({"greeting": "421 4.7.0 Too busy"}, "421 4.7.0 Too busy"),
        ({"greeting": "* OK IMAP ready"}, "does not speak SMTP here"),
        ({"greeting": CLOSE}, "cannot connect to"),
    ],
)
async def test_not_let_in(script: Mapping[str, str], words: str) -> None:
    found, _ = await probed(script)
    assert list(found) == ["name", "connection"]
    assert found["connection"].state == "failed"
    assert words in found["connection"].words
    assert "usual ports are 465" in found["connection"].advice


async def test_no_starttls() -> None:
    found, _ = await probed(security="starttls")
    assert list(found) == ["name", "TLS"]
    assert found["TLS"].words == "127.0.0.1 does not offer STARTTLS"
    assert "usual ports are 465" in found["TLS"].advice


async def test_authorities_that_cannot_be_read() -> None:
    found, heard = await probed(security="tls", ca_file="/nowhere/ca.pem")
    assert list(found) == ["name", "TLS"]
    assert "/nowhere/ca.pem cannot be read: No such file or directory" in found["TLS"].words
    assert not heard


@pytest.mark.parametrize(
    ("script", "offers", "words"),
    [
        ({"AUTH": "535 5.7.8 No"}, ["AUTH PLAIN"], "the login of crm is refused: 535 5.7.8 No"),
        ({"AUTH": "454 4.7.0 Later"}, ["AUTH PLAIN"], "454 4.7.0 Later"),
        ({"AUTH": CLOSE}, ["AUTH PLAIN"], "cannot connect"),
        ({}, ["AUTH GSSAPI"], "127.0.0.1 offers no login that we speak (PLAIN, LOGIN): gssapi"),
    ],
)
async def test_a_login_that_fails(script: Mapping[str, str], offers: Sequence[str], words: str) -> None:
    found, _ = await probed(script, offers, auth=AUTH)
    assert list(found) == ["name", "connection", "TLS", "login"]
    assert found["login"].state == "failed"
    assert words in found["login"].words
    assert SECRET not in str(found)
