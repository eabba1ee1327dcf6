import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from tests.support.scripted_smtp import CLOSE, SILENCE, STALL, ScriptedSmtp
from transports.base import Envelope, Outcome
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.transaction import State

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"
LARGE = b"0123456789\r\n" * 1_000_000


class Begin:
    """Counts how often a message was begun."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@contextlib.asynccontextmanager
async def relay_to(server: ScriptedSmtp, **settings: Any) -> AsyncIterator[SmtpRelay]:
    settings = {"host": "127.0.0.1", "port": server.port, "security": "none"} | settings
    async with SmtpRelay(SmtpRelaySettings(**settings)) as relay:
        yield relay


def envelope(*recipients: str, sender: str = "crm@ours.test", content: bytes = CONTENT) -> Envelope:
    return Envelope(sender, recipients or ("ann@theirs.test",), content)


async def send_one(server: ScriptedSmtp, what: Envelope | None = None, **settings: Any) -> list[Outcome]:
    async with relay_to(server, **settings) as relay:
        return list(await relay.send(what or envelope(), Begin()))


def states(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.state, outcome.code) for outcome in outcomes]


# Outcomes


async def test_each_recipient_has_the_relays_own_words() -> None:
    script = {
        "RCPT TO:<gone@": "550-5.1.1 The mailbox is gone\r\n550 5.1.1 for good",
        "RCPT TO:<busy@": "450 4.2.1 Busy",
        "RCPT TO:<old@": "551 User not local",
        ".": "250 2.0.0 Ok: queued as 4711",
    }
    async with ScriptedSmtp(script) as server:
        outcomes = await send_one(server, envelope("ann@t", "gone@t", "busy@t", "old@t", "ann@t"))
    assert outcomes == [
        Outcome("ann@t", "accepted", "2.0.0", "Ok: queued as 4711"),
        Outcome("gone@t", "refused", "5.1.1", "The mailbox is gone for good"),
        Outcome("busy@t", "deferred", "4.2.1", "Busy"),
        Outcome("old@t", "refused", "551", "User not local"),
        Outcome("ann@t", "accepted", "2.0.0", "Ok: queued as 4711"),
    ]
    assert server.messages == [CONTENT]


@pytest.mark.parametrize(
    ("script", "state", "code", "text"),
    [
        ({"MAIL": "550 5.7.1 Not you"}, "refused", "5.7.1", "Not you"),
        ({"MAIL": "451 4.3.2 Later"}, "deferred", "4.3.2", "Later"),
        ({"MAIL": "421 4.3.2 Going down"}, "deferred", "4.3.2", "Going down"),
        ({"RCPT": "421 4.3.2 Going down"}, "deferred", "4.3.2", "Going down"),
        ({"DATA": "554 5.5.1 No"}, "refused", "5.5.1", "No"),
        ({"DATA": "451 4.3.0 Later"}, "deferred", "4.3.0", "Later"),
        ({"DATA": "250 What?"}, "deferred", "250", "What?"),
        ({".": "554 5.7.1 Spam"}, "refused", "5.7.1", "Spam"),
        ({".": "452 4.3.1 Full"}, "deferred", "4.3.1", "Full"),
        ({".": "421 4.3.2 Going down"}, "deferred", "4.3.2", "Going down"),
        ({".": "550 2.0.0 Contradiction"}, "refused", "550", "2.0.0 Contradiction"),
        ({".": "354 What?"}, "unknown", "354", "What?"),
    ],
)
async def test_a_reply_decides(script: dict[str, str], state: State, code: str, text: str) -> None:
    async with ScriptedSmtp(script) as server:
        assert await send_one(server) == [Outcome("ann@theirs.test", state, code, text)]


@pytest.mark.parametrize("fault", [CLOSE, SILENCE, "garbage"])
async def test_no_answer_after_the_final_dot_leaves_the_outcome_unknown(fault: str) -> None:
    async with ScriptedSmtp({".": fault, "RCPT TO:<gone@": "550 5.1.1 Gone"}) as server:
        outcomes = await send_one(server, envelope("ann@t", "gone@t"), final_timeout=0.2)
    assert states(outcomes) == [("unknown", "4.4.2"), ("refused", "5.1.1")]


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        *(("MAIL", fault) for fault in (CLOSE, SILENCE)),
        *(("RCPT TO:<bob@", fault) for fault in (CLOSE, SILENCE)),
        *(("DATA", fault) for fault in (CLOSE, SILENCE)),
        *(("content", fault) for fault in (CLOSE, STALL)),
    ],
)
async def test_what_fails_before_the_final_dot_is_deferred(step: str, fault: str) -> None:
    async with ScriptedSmtp({step: fault}) as server:
        outcomes = await send_one(
            server, envelope("ann@t", "bob@t", content=LARGE), timeout=30 if fault == CLOSE else 1
        )
    assert states(outcomes) == [("deferred", "4.4.2")] * 2


async def test_an_answer_in_the_middle_of_the_content_counts() -> None:
    async with ScriptedSmtp({"content": "552 5.3.4 Enough"}) as server:
        outcomes = await send_one(server, envelope(content=LARGE))
    assert outcomes == [Outcome("ann@theirs.test", "refused", "5.3.4", "Enough")]


# What is said


async def test_size_and_body_are_declared_where_they_are_offered() -> None:
    content = "Subject: hello\r\n\r\né\r\n".encode()
    what = envelope(content=content)
    async with ScriptedSmtp() as server:
        assert (await send_one(server, what))[0].state == "accepted"
    assert f"MAIL FROM:<crm@ours.test> SIZE={len(content)} BODY=8BITMIME" in server.commands[0]
    async with ScriptedSmtp(offers=()) as server:
        assert (await send_one(server))[0].state == "accepted"
    assert "MAIL FROM:<crm@ours.test>" in server.commands[0]


@pytest.mark.parametrize(
    ("content", "offers", "code"),
    [
        ("Subject: é\r\n\r\nhello\r\n", ("8BITMIME",), "5.6.7"),
        ("Subject: é\r\n\r\nhello\r\n", (), "5.6.7"),
        ("Subject: é\r\n\r\nhello\r\n", ("SMTPUTF8",), "5.6.3"),
        ("Subject: e\r\n\r\nhéllo\r\n", (), "5.6.3"),
        ("Subject: e\r\n\r\nhéllo\r\n", ("SMTPUTF8",), "5.6.3"),
    ],
)
async def test_o16_nothing_goes_out_that_the_server_does_not_say_it_can_carry(
    content: str, offers: Sequence[str], code: str
) -> None:
    async with ScriptedSmtp(offers=offers) as server:
        outcomes = await send_one(server, envelope(content=content.encode()))
    assert states(outcomes) == [("refused", code)]
    assert "the server does not offer" in outcomes[0].text
    assert server.messages == []


async def test_o16_headers_that_are_not_ascii_are_announced() -> None:
    what = envelope(content="Subject: é\r\n\r\nhello\r\n".encode())
    async with ScriptedSmtp(offers=["8BITMIME", "SMTPUTF8"]) as server:
        assert states(await send_one(server, what)) == [("accepted", "2.0.0")]
    assert server.commands[0][1] == "MAIL FROM:<crm@ours.test> BODY=8BITMIME SMTPUTF8"


async def test_a_server_that_knows_no_ehlo_is_spoken_to_as_of_old() -> None:
    async with ScriptedSmtp({"EHLO": "502 What?"}) as server:
        assert (await send_one(server))[0].state == "accepted"


async def test_a_message_over_the_announced_size_is_not_sent() -> None:
    async with ScriptedSmtp(offers=["SIZE 20"]) as server:
        (outcome,) = await send_one(server)
    assert (outcome.state, outcome.code) == ("refused", "5.3.4")
    assert outcome.text == f"the message has {len(CONTENT)} bytes, and the server accepts at most 20"
    assert not any(line.startswith("MAIL") for line in server.commands[0])


async def test_an_address_that_is_not_ascii_needs_smtputf8() -> None:
    what = envelope("jürgen@t", "ann@t")
    async with ScriptedSmtp() as server:
        outcomes = await send_one(server, what)
        assert states(outcomes) == [("refused", "5.6.7"), ("accepted", "2.0.0")]
        assert "does not offer SMTPUTF8" in outcomes[0].text
        assert not any("SMTPUTF8" in line for line in server.commands[0])
        assert states(await send_one(server, envelope(sender="jürgen@t"))) == [("refused", "5.6.7")]
    async with ScriptedSmtp(offers=["SMTPUTF8"]) as server:
        assert states(await send_one(server, what)) == [("accepted", "2.0.0")] * 2
    assert server.commands[0][1:3] == ["MAIL FROM:<crm@ours.test> SMTPUTF8", "RCPT TO:<jürgen@t>"]


@pytest.mark.parametrize("address", ["a@b>\r\nRCPT TO:<c@d", "a@b> SIZE=1", "a b@c", "a@b\ud800", "", "a@b\x85c"])
async def test_an_address_cannot_break_out_of_its_command(address: str) -> None:
    async with ScriptedSmtp(offers=["SMTPUTF8"]) as server:
        assert states(await send_one(server, envelope(address, "ann@t"))) == [
            ("refused", "5.1.3"),
            ("accepted", "2.0.0"),
        ]
        assert sum(line.startswith("RCPT") for line in server.commands[0]) == 1
        if address:
            assert states(await send_one(server, envelope(sender=address))) == [("refused", "5.1.7")]


async def test_a_report_has_the_null_sender() -> None:
    async with ScriptedSmtp(offers=()) as server:
        assert (await send_one(server, envelope('"a b"@t', sender="")))[0].state == "accepted"
    assert server.commands[0][1:3] == ["MAIL FROM:<>", 'RCPT TO:<"a b"@t>']


# Connections


async def test_a_connection_is_used_again() -> None:
    async with ScriptedSmtp() as server, relay_to(server) as relay:
        for _ in range(3):
            assert (await relay.send(envelope(), Begin()))[0].state == "accepted"
        assert len(server.commands) == 1
        assert "RSET" not in server.commands[0]
    assert server.commands[0][-1] == "QUIT"


async def test_what_was_left_half_said_is_reset_first() -> None:
    async with ScriptedSmtp({"RCPT TO:<gone@": "550 5.1.1 Gone"}) as server, relay_to(server) as relay:
        await relay.send(envelope("gone@t"), Begin())
        await relay.send(envelope("ann@t"), Begin())
    assert [line.split(":")[0].split()[0] for line in server.commands[0]] == [
        *("EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT")
    ]


@pytest.mark.parametrize("fault", ["421 4.4.2 Timeout", CLOSE, SILENCE])
async def test_a_kept_connection_found_dead_at_mail_is_replaced(fault: str) -> None:
    async with ScriptedSmtp({"MAIL": ["250 Ok", fault, "250 Ok"]}) as server, relay_to(server, timeout=1) as relay:
        begin = Begin()
        assert (await relay.send(envelope(), begin))[0].state == "accepted"
        assert (await relay.send(envelope(), begin))[0].state == "accepted"
        assert begin.count == 2
        assert len(server.commands) == 2


async def test_a_kept_connection_found_dead_before_is_replaced() -> None:
    script = {"RSET": CLOSE, "RCPT TO:<gone@": "550 5.1.1 Gone"}
    async with ScriptedSmtp(script) as server, relay_to(server) as relay:
        await relay.send(envelope("gone@t"), Begin())
        assert (await relay.send(envelope("ann@t"), Begin()))[0].state == "accepted"
        assert len(server.commands) == 2


async def test_a_connection_that_was_replaced_in_vain_says_so() -> None:
    script = {"MAIL": ["250 Ok", CLOSE], "greeting": ["220 Hello", "554 5.3.2 Closed"]}
    async with ScriptedSmtp(script) as server, relay_to(server) as relay:
        await relay.send(envelope(), Begin())
        with pytest.raises(Permanent, match=r"554 5\.3\.2 Closed"):
            await relay.send(envelope(), Begin())


async def test_canceling_closes_the_connection() -> None:
    async with ScriptedSmtp({".": [SILENCE, "250 Ok"]}) as server, relay_to(server) as relay:
        task = asyncio.create_task(relay.send(envelope(), Begin()))
        await asyncio.wait_for(server.silent.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.ended[0].wait(), 10)
        assert (await relay.send(envelope(), Begin()))[0].state == "accepted"
        assert len(server.commands) == 2


async def test_nothing_is_said_when_begin_raises() -> None:
    async def begin() -> None:
        raise LookupError

    async with ScriptedSmtp() as server, relay_to(server) as relay:
        with pytest.raises(LookupError):
            await relay.send(envelope(), begin)
    assert not any(line.startswith("MAIL") for line in server.commands[0])


async def test_no_more_connections_than_allowed() -> None:
    async with ScriptedSmtp() as server, relay_to(server, connections=2) as relay:
        results = await asyncio.gather(*(relay.send(envelope(), Begin()) for _ in range(10)))
        assert {result[0].state for result in results} == {"accepted"}
        assert len(server.commands) == 2


async def test_an_idle_connection_is_dropped() -> None:
    async with ScriptedSmtp() as server:
        settings = SmtpRelaySettings(host="127.0.0.1", port=server.port, security="none")
        async with SmtpRelay(settings, idle=0.01) as relay:
            await relay.send(envelope(), Begin())
            await asyncio.wait_for(server.ended[0].wait(), 10)
            assert server.commands[0][-1] == "QUIT"


async def test_a_connection_is_dropped_after_so_many_messages() -> None:
    async with ScriptedSmtp() as server:
        settings = SmtpRelaySettings(host="127.0.0.1", port=server.port, security="none")
        async with SmtpRelay(settings, messages=2) as relay:
            for _ in range(4):
                await relay.send(envelope(), Begin())
        assert [sum(line == "DATA" for line in commands) for commands in server.commands] == [2, 2]


async def test_nobody_to_send_to_is_no_message() -> None:
    async with ScriptedSmtp() as server, relay_to(server) as relay:
        assert list(await relay.send(Envelope("a@b", (), CONTENT), Begin())) == []
    assert server.commands == []


# Connecting


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ({"greeting": "554 5.3.2 Go away"}, Permanent, "554 5.3.2 Go away"),
        ({"greeting": "421 4.3.2 Too busy"}, Temporary, "421 4.3.2 Too busy"),
        ({"greeting": CLOSE}, Unreachable, "cannot connect"),
        ({"greeting": SILENCE}, Unreachable, "cannot connect"),
        ({"greeting": "HTTP/1.1 400 Bad Request"}, Temporary, "does not speak SMTP"),
        ({"EHLO": "421 4.3.2 Too busy"}, Temporary, "421 4.3.2 Too busy"),
        ({"EHLO": "550 No", "HELO": "550 Never"}, Permanent, "550 Never"),
    ],
)
async def test_a_server_that_does_not_let_us_in(script: dict[str, str], kind: type[TransportError], words: str) -> None:
    begin = Begin()
    async with ScriptedSmtp(script) as server, relay_to(server, timeout=1) as relay:
        with pytest.raises(TransportError, match=words) as caught:
            await relay.send(envelope(), begin)
    assert type(caught.value) is kind
    assert begin.count == 0


async def test_nobody_there() -> None:
    async with ScriptedSmtp() as server:
        pass
    async with relay_to(server) as relay:
        with pytest.raises(Unreachable, match=f"cannot connect to 127.0.0.1:{server.port}"):
            await relay.send(envelope(), Begin())


async def test_starttls_that_fails_is_an_error() -> None:
    async with ScriptedSmtp() as server, relay_to(server, security="starttls") as relay:
        with pytest.raises(Permanent, match="does not offer STARTTLS"):
            await relay.send(envelope(), Begin())
    async with (
        ScriptedSmtp({"STARTTLS": "454 4.7.0 Not now"}, offers=["STARTTLS"]) as server,
        relay_to(server, security="starttls") as relay,
    ):
        with pytest.raises(Temporary, match=r"454 4\.7\.0 Not now"):
            await relay.send(envelope(), Begin())
    assert not any(line.startswith("MAIL") for commands in server.commands for line in commands)


async def test_a_server_without_tls_is_unreachable_by_tls() -> None:
    async with ScriptedSmtp() as server, relay_to(server, security="tls", timeout=2) as relay:
        with pytest.raises(Unreachable, match="TLS"):
            await relay.send(envelope(), Begin())


# Login


@pytest.fixture
def auth(tmp_path: Path) -> dict[str, Any]:
    secret = tmp_path / "secret"
    secret.write_text("pässword\n")
    return {"user": "crm", "password": {"file": secret}}


async def test_login_by_plain(auth: dict[str, Any]) -> None:
    async with ScriptedSmtp({"AUTH": "235 2.7.0 Welcome"}, offers=["AUTH CRAM-MD5 LOGIN PLAIN"]) as server:
        assert (await send_one(server, auth=auth))[0].state == "accepted"
    assert server.commands[0][1] == "AUTH PLAIN " + base64.b64encode("\0crm\0pässword".encode()).decode()


async def test_login_by_login(auth: dict[str, Any]) -> None:
    word = base64.b64encode("pässword".encode()).decode()
    script = {"AUTH LOGIN": "334 UGFzc3dvcmQ6", word: "235 2.7.0 Welcome"}
    async with ScriptedSmtp(script, offers=["AUTH LOGIN"]) as server:
        assert (await send_one(server, auth=auth))[0].state == "accepted"


@pytest.mark.parametrize(
    ("reply", "kind"), [("535 5.7.8 Wrong password", Unauthorized), ("454 4.7.0 Not now", Temporary)]
)
async def test_a_login_that_is_refused(auth: dict[str, Any], reply: str, kind: type[TransportError]) -> None:
    async with (
        ScriptedSmtp({"AUTH": reply}, offers=["AUTH PLAIN LOGIN"]) as server,
        relay_to(server, auth=auth) as relay,
    ):
        with pytest.raises(TransportError, match=reply) as caught:
            await relay.send(envelope(), Begin())
    assert type(caught.value) is kind
    assert "pässword" not in str(caught.value)
    assert sum(line.startswith("AUTH") for line in server.commands[0]) == 1


async def test_a_server_without_a_login_that_we_speak(auth: dict[str, Any]) -> None:
    async with ScriptedSmtp(offers=["AUTH GSSAPI"]) as server, relay_to(server, auth=auth) as relay:
        with pytest.raises(Permanent, match=r"offers no login that we speak \(LOGIN, PLAIN, SCRAM-SHA-256\): GSSAPI"):
            await relay.send(envelope(), Begin())


async def test_no_password_in_clear_text_beyond_loopback(auth: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def peer(_client: aiosmtplib.SMTP, key: str) -> Any:
        return ("192.0.2.1", 25) if key == "peername" else None

    monkeypatch.setattr(aiosmtplib.SMTP, "get_transport_info", peer)
    async with ScriptedSmtp(offers=["AUTH PLAIN"]) as server, relay_to(server, auth=auth) as relay:
        with pytest.raises(Permanent, match="in clear text"):
            await relay.send(envelope(), Begin())
    assert not any(line.startswith("AUTH") for line in server.commands[0])


@pytest.mark.parametrize("words", ["bad \0 block", "half a \udced\udca0\udc80", "x" * 400, "\0"])
async def test_whatever_words_a_relay_refuses_with_can_be_stored(words: str) -> None:
    for step in ("RCPT", "."):
        async with ScriptedSmtp({step: f"550 5.1.1 {words}"}) as server:
            (outcome,) = await send_one(server)
        assert outcome.state == "refused"
        assert "\0" not in outcome.text
        outcome.text.encode()
