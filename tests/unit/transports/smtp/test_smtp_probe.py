"""Probing relays that refuse, or cannot do what the profile wants; the real Postfix is in test_test_command.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, SILENCE, ScriptedSmtp
from transports.base import Finding, Sender
from transports.smtp.probe import probe_relay
from transports.smtp.settings import SmtpRelaySettings

SECRET = "a-secret-of-the-tests"
AUTH = {"user": "crm", "password": {"env": "RELAY_TEST_PASSWORD"}}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TEST_PASSWORD", SECRET)


async def probed(
    script: Mapping[str, str | Sequence[str]] | None = None,
    offers: Sequence[str] = ("SIZE 20000000",),
    senders: Sequence[str] = (),
    **keys: Any,
) -> tuple[dict[str, Finding], list[list[str]]]:
    """The finding of each step, and what the relay heard."""
    async with ScriptedSmtp(script, offers) as relay:
        settings = SmtpRelaySettings.model_validate(
            {"host": "127.0.0.1", "port": relay.port, "security": "none", "timeout": 20, **keys}
        )
        found = {one.step: one async for one in probe_relay(settings, [Sender(one, one) for one in senders])}
    return found, relay.commands


async def test_a_relay_that_trusts_our_address() -> None:
    found, heard = await probed()
    assert {one.state for one in found.values()} == {"ok"}
    assert found["login"].words == "the profile has none: the relay has to trust this machine's address"
    assert found["capabilities"].words == "ENHANCEDSTATUSCODES, messages of 20.0 MB at most"
    assert "senders" not in found
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
        ({}, ["AUTH GSSAPI"], "127.0.0.1 offers no login that we speak (LOGIN, PLAIN, SCRAM-SHA-256): GSSAPI"),
    ],
)
async def test_a_login_that_fails(script: Mapping[str, str], offers: Sequence[str], words: str) -> None:
    found, _ = await probed(script, offers, auth=AUTH)
    assert list(found) == ["name", "connection", "TLS", "login"]
    assert found["login"].state == "failed"
    assert words in found["login"].words
    assert SECRET not in str(found)


# Whose mail it takes

ANN, BEN, JIM = "ann@ours.test", "ben@ours.test", "jürgen@ours.test"


async def test_each_sender_is_tried_and_no_recipient_is_named() -> None:
    found, heard = await probed(offers=["DSN", "PIPELINING"], senders=[ANN, BEN])
    assert found["senders"].state == "ok"
    assert "MAIL FROM any of 2 mailboxes is taken" in found["senders"].words
    assert [line.split()[0] for line in heard[0]] == ["EHLO", "MAIL", "RSET", "MAIL", "RSET", "QUIT"]
    assert "DSN, PIPELINING" in found["capabilities"].words


async def test_a_sender_who_is_refused() -> None:
    script = {f"MAIL FROM:<{BEN}>": "553 5.7.1 Not yours"}
    found, _ = await probed(script, senders=[ANN, BEN, JIM])
    assert found["senders"].state == "failed"
    assert found["senders"].words == (
        f"2 of 3 may not send: {BEN}: 553 5.7.1 Not yours; "
        f"{JIM}: 5.6.7 the address is not ASCII, and the server does not offer SMTPUTF8"
    )
    assert "let the relay's login send" in found["senders"].advice


@pytest.mark.parametrize("fault", [CLOSE, "421 4.7.0 Enough"])
async def test_a_relay_that_ends_amid_the_senders(fault: str) -> None:
    found, _ = await probed({"MAIL": ["250 Ok", fault]}, senders=[ANN, BEN])
    assert found["senders"].state == "warning"
    assert "ended it after 2 of 2 were tried" in found["senders"].words


async def test_a_relay_that_takes_its_time_for_each_sender() -> None:
    found, _ = await probed({"MAIL": ["553 5.7.1 Not yours", SILENCE]}, senders=[ANN, BEN, JIM], timeout=0.3)
    assert found["senders"].state == "failed"
    assert found["senders"].words.startswith(f"1 of 3 may not send: {ANN}: 553 5.7.1 Not yours (")


async def test_each_of_several_servers() -> None:
    async with ScriptedSmtp() as first, ScriptedSmtp({"greeting": "554 5.3.2 Closed"}) as second:
        hosts = [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]
        settings = SmtpRelaySettings.model_validate({"hosts": hosts, "security": "none"})
        found = [one async for one in probe_relay(settings, ())]
    assert [one.step for one in found] == [
        *("server", "name", "connection", "TLS", "login", "capabilities"),
        *("server", "name", "connection"),
    ]
    assert found[0].words == f"127.0.0.1:{first.port}, number 1 of 2"
    assert "554 5.3.2 Closed" in found[-1].words
