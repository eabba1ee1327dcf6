"""What we call ourselves in EHLO."""

import socket

import pytest

from tests.support.scripted_smtp import ScriptedSmtp
from transports.base import Envelope
from transports.smtp.hello import is_hello, literal, own_name
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

CONTAINER = "3f2a9c41b7de"


async def begin() -> None:
    """No database here."""


async def said(**keys: str) -> str:
    async with ScriptedSmtp() as server:
        settings = SmtpRelaySettings.model_validate(
            {"host": "127.0.0.1", "port": server.port, "security": "none", **keys}
        )
        async with SmtpRelay(settings) as relay:
            await relay.send(Envelope("crm@ours.test", ("ann@out.test",), b"Subject: x\r\n\r\n"), begin)
    return server.commands[0][0]


@pytest.mark.parametrize(
    ("machine", "hello"),
    [
        ("crm.example.com", "EHLO crm.example.com"),
        ("crm.example.com.", "EHLO crm.example.com"),
        (CONTAINER, "EHLO [127.0.0.1]"),
        ("localhost", "EHLO [127.0.0.1]"),
        ("localhost.localdomain", "EHLO [127.0.0.1]"),
        ("crm_1.example.com", "EHLO [127.0.0.1]"),
        ("büro.example.com", "EHLO [127.0.0.1]"),
    ],
)
async def test_a_machine_without_a_full_name_says_its_address(
    machine: str, hello: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: machine)
    assert await said() == hello


async def test_a_profile_may_say_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: CONTAINER)
    assert await said(hello="mail.ours.test") == "EHLO mail.ours.test"
    assert await said(hello="[192.0.2.7]") == "EHLO [192.0.2.7]"


async def test_helo_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: CONTAINER)
    async with ScriptedSmtp({"EHLO": "502 What?"}) as server:
        settings = SmtpRelaySettings(host="127.0.0.1", port=server.port, security="none")
        async with SmtpRelay(settings) as relay:
            await relay.send(Envelope("crm@ours.test", ("ann@out.test",), b"Subject: x\r\n\r\n"), begin)
    assert server.commands[0][:2] == ["EHLO [127.0.0.1]", "HELO [127.0.0.1]"]


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("192.0.2.7", "[192.0.2.7]"),
        ("2001:db8::7", "[IPv6:2001:db8::7]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::ffff:192.0.2.7", "[192.0.2.7]"),
    ],
)
def test_an_address_is_written_as_a_literal(address: str, written: str) -> None:
    assert literal(address) == written
    assert is_hello(written)


@pytest.mark.parametrize(
    "hello",
    ["", "crm example.com", "crm.example.com\r\nRSET", "crm_1.example.com", "büro.example", "-a.example", "a..example",
     "[2001:db8::7]", "[IPv6:192.0.2.7]", "[192.0.2.300]", "[]", "a" * 64 + ".example", "a.example."],
)  # fmt: skip
def test_no_name_to_say(hello: str) -> None:
    assert not is_hello(hello)
    with pytest.raises(ValueError, match="must be a full name"):
        SmtpRelaySettings(host="smtp.example.com", hello=hello)


def test_a_machine_that_has_a_full_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "crm.example.com")
    assert own_name() == "crm.example.com"
