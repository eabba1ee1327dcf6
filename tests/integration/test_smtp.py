"""The SMTP transport against real Postfix, and against clients that others wrote."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers.dovecot import PASSWORD
from tests.servers.postfix import Postfix
from transports.base import Envelope, Outcome
from transports.errors import Unauthorized, Unreachable
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

# With these headers Postfix adds none of its own below.
HEAD = b"From: a@example.com\r\nDate: Sat, 21 Nov 2026 01:02:03 +0000\r\nMessage-ID: <1@example.com>\r\n"
CONTENT = HEAD + b"Subject: hello\r\n\r\nhello\r\n"
CRM = "crm@example.com"

# --- Relay -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def login(tmp_path: Path, new_mailbox: Callable[[str], str]) -> dict[str, Any]:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    return {"user": new_mailbox("crm"), "password": {"file": secret}}


async def begin() -> None:
    """No database here."""


async def send(settings: dict[str, Any], *messages: Envelope) -> list[Sequence[Outcome]]:
    async with SmtpRelay(SmtpRelaySettings(**({"host": "localhost"} | settings))) as relay:
        return [await relay.send(message, begin) for message in messages]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_goes_through_an_encrypted_and_authenticated_relay(
    postfix: Postfix, ca_file: Path, login: dict[str, Any], new_mailbox: Callable[[str], str], security: str
) -> None:
    port = postfix.submission if security == "starttls" else postfix.smtps
    to = new_mailbox("ann").replace("@in.test", "@example.com")
    settings = {"port": port, "security": security, "ca_file": ca_file, "auth": login}
    ((outcome,),) = await send(settings, Envelope(CRM, (to,), CONTENT))
    assert (outcome.state, outcome.code) == ("accepted", "2.0.0")
    assert "queued as" in outcome.text
    (kept,) = await asyncio.to_thread(postfix.wait_for, 1, to)
    assert kept.sender == CRM
    assert kept.message.endswith(CONTENT)


async def test_what_a_relay_refuses(postfix: Postfix, ca_file: Path, login: dict[str, Any], tmp_path: Path) -> None:
    settings = {"port": postfix.submission, "security": "starttls", "ca_file": ca_file}
    ((outcome,),) = await send(settings, Envelope(CRM, ("ann@example.com",), CONTENT))
    assert (outcome.state, outcome.code) == ("refused", "5.7.1")
    (tmp_path / "secret").write_text("wrong")
    with pytest.raises(Unauthorized, match=r"535 5\.7\.8") as caught:
        await send(settings | {"auth": login}, Envelope(CRM, ("ann@example.com",), CONTENT))
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_relay_that_cannot_prove_itself_is_unreachable(postfix: Postfix, security: str) -> None:
    port = postfix.submission if security == "starttls" else postfix.smtps
    with pytest.raises(Unreachable, match="certificate cannot be trusted"):
        await send({"port": port, "security": security}, Envelope(CRM, ("ann@example.com",), CONTENT))


@pytest.mark.parametrize(
    ("security", "words"),
    [("starttls", 'it speaks TLS from the start at this port, so security = "tls"'), ("tls", "begins in clear text")],
)
async def test_the_wrong_security_for_the_port(postfix: Postfix, security: str, words: str) -> None:
    port = postfix.smtps if security == "starttls" else postfix.submission
    settings = {"port": port, "security": security, "timeout": 1}
    with pytest.raises(Unreachable, match=words):
        await send(settings, Envelope(CRM, ("ann@example.com",), CONTENT))


async def test_every_recipient_has_an_outcome_and_one_connection_serves_all(
    postfix: Postfix, new_mailbox: Callable[[str], str]
) -> None:
    ann = new_mailbox("ann").replace("@in.test", "@example.com")
    mixed = Envelope(CRM, (ann, "refused@example.com", "deferred@example.com", "x@elsewhere.invalid"), CONTENT)
    hopeless = Envelope(CRM, ("refused@example.com",), CONTENT)
    sender = new_mailbox("crm")
    logged = len(postfix.log())
    outcomes = await send(
        {"port": postfix.smtp, "security": "none"}, mixed, hopeless, Envelope(sender, (ann,), CONTENT)
    )
    assert [(outcome.state, outcome.code) for outcome in outcomes[0]] == [
        ("accepted", "2.0.0"),
        ("refused", "5.1.1"),
        ("deferred", "4.2.1"),
        ("refused", "5.7.1"),
    ]
    assert "No such user here, says the test server" in outcomes[0][1].text
    assert "This mailbox is busy, says the test server" in outcomes[0][2].text
    assert [outcome.state for outcome in (*outcomes[1], *outcomes[2])] == ["refused", "accepted"]
    await asyncio.to_thread(postfix.wait_for, 2, ann)
    connects = [line for line in postfix.log()[logged:].splitlines() if "/smtpd[" in line and ": connect from" in line]
    assert len(connects) == 1


async def test_what_is_not_ascii_arrives_as_it_is(postfix: Postfix, new_mailbox: Callable[[str], str]) -> None:
    to = new_mailbox("jürgen").replace("@in.test", "@example.com")
    content = HEAD + "Subject: Grüße\r\n\r\n.\r\n..Grüße aus Köln\r\n".encode()
    ((outcome,),) = await send({"port": postfix.smtp, "security": "none"}, Envelope(CRM, (to,), content))
    assert outcome.state == "accepted"
    (kept,) = await asyncio.to_thread(postfix.wait_for, 1, to)
    assert kept.message.endswith(content)


async def test_a_large_message_arrives_whole(postfix: Postfix, new_mailbox: Callable[[str], str]) -> None:
    to = new_mailbox("ann").replace("@in.test", "@example.com")
    content = HEAD + b"Subject: large\r\n\r\n" + (b"." * 70 + b"\r\n") * 100_000
    ((outcome,),) = await send({"port": postfix.smtp, "security": "none"}, Envelope(CRM, (to,), content))
    assert outcome.state == "accepted"
    (kept,) = await asyncio.to_thread(postfix.wait_for, 1, to)
    assert kept.message.endswith(content)
    ((outcome,),) = await send({"port": postfix.smtp, "security": "none"}, Envelope(CRM, (to,), content * 8))
    assert (outcome.state, outcome.code) == ("refused", "5.3.4")
