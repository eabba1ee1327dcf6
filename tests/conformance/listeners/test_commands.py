"""What is offered, whom it admits, and what it refuses to hear."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from tests.conformance.listeners.conftest import Serve
from tests.conformance.listeners.ways import BOB, Intake, Served, Way, every_way, serving, ways_over
from tests.servers.tls import Tls

OTHER_GREETINGS = {"smtp": ["LHLO"], "lmtp": ["HELO", "EHLO"]}


@every_way
async def test_what_is_offered(serve: Serve) -> None:
    def offered(served: Served) -> list[str]:
        with served.client() as client:
            assert client.greeting.startswith("220 ")
            return client.hello()

    async with serve(max_size=65536) as served:
        offers = await asyncio.to_thread(offered, served)
    assert offers == ["PIPELINING", "SIZE 65536", "8BITMIME", "SMTPUTF8", "HELP"]


@every_way
async def test_a_greeting_of_the_other_protocol(served: Served) -> None:
    def greet() -> list[str]:
        with served.client(greets=False) as client:
            return [client.say(f"{word} client.test") for word in OTHER_GREETINGS[served.way.kind]]

    assert {reply[:3] for reply in await asyncio.to_thread(greet)} == {"500"}


@every_way
async def test_recipients_are_admitted_one_by_one(intake: Intake, served: Served) -> None:
    def deliver() -> None:
        with served.client() as client:
            assert client.say("RCPT TO:<bob@ours.test>").startswith("503")
            assert client.say("DATA").startswith("503")
            client.say("MAIL FROM:<ann@theirs.test>")
            assert client.say("RCPT TO:<nobody@ours.test>") == "550 5.1.1 nobody"
            assert client.say("RCPT TO:<later@ours.test>") == "450 4.2.1 not yet"
            assert client.say("RCPT TO:<\udcff@ours.test>").startswith("553 5.1.3 ")
            assert client.say("DATA") == "503 5.5.1 No valid recipients"
            assert client.say("RCPT TO:<bob@ours.test>") == "250 2.1.5 OK"
            assert client.say("DATA x").startswith("501")
            assert client.say("DATA").startswith("354")
            client.write(b"hello\r\n.\r\n")
            assert client.reply().startswith("250")
            assert client.say("MAIL FROM:<\udcff@ours.test>").startswith("553 5.1.7 ")

    await asyncio.to_thread(deliver)
    assert [received.recipients for received in intake.taken] == [(BOB,)]


@every_way
async def test_an_address_that_is_not_ascii(intake: Intake, served: Served) -> None:
    def deliver() -> None:
        with served.client() as client:
            assert client.say("MAIL FROM:<ann@theirs.test> BODY=8BITMIME SMTPUTF8").startswith("250")
            assert client.say("RCPT TO:<jürgen@münchen.test>").startswith("250")
            client.say("DATA")
            client.write(b".\r\n")
            assert client.reply().startswith("250")

    await asyncio.to_thread(deliver)
    assert intake.taken[0].recipients == ("jürgen@münchen.test",)


@every_way
@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("<bob@ours.test>", "250"),
        (" <bob@ours.test> ", "250"),
        ('<"bob (b) <b>"@ours.test>', "250"),
        ("<@relay.test:bob@ours.test>", "250"),
        ("<bob@[127.0.0.1]>", "250"),
        ("<" + "b" * 300 + "@ours.test>", "250"),
        ("<", "553"),
        ("<bob@ours.test", "553"),
        ("<bob@ours.test><", "501"),
        ("bob@ours.test", "553"),
        ("<>", "550"),
        ("<" + "b" * 3000 + "@ours.test>", "500"),
    ],
)
async def test_the_path_of_a_recipient(intake: Intake, served: Served, path: str, reply: str) -> None:
    def deliver() -> None:
        with served.client() as client:
            client.say("MAIL FROM:<ann@theirs.test>")
            assert client.say(f"RCPT TO:{path}")[:3] == reply
            if reply == "250":
                client.say("DATA")
                client.write(b".\r\n")
                assert client.reply().startswith("250")

    await asyncio.to_thread(deliver)
    if reply == "250":
        expected = path.strip().removeprefix("<").removesuffix(">").removeprefix("@relay.test:")
        assert intake.taken[0].recipients == (expected,)


@every_way
async def test_there_is_no_login(served: Served) -> None:
    def log_in() -> str:
        with served.client() as client:
            return client.say("AUTH PLAIN AGFubgBzZWNyZXQ=")

    assert (await asyncio.to_thread(log_in)).startswith("502 5.5.1 ")


# --- TLS -------------------------------------------------------------------------------------------------------------


@ways_over("starttls")
async def test_what_came_in_clear_is_forgotten_once_it_is_encrypted(intake: Intake, served: Served, tls: Tls) -> None:
    """CVE-2011-0411: what somebody on the way adds behind STARTTLS must not count as said over TLS."""

    def inject() -> None:
        with served.client(greets=False) as client:
            assert "STARTTLS" in client.hello()
            client.say("MAIL FROM:<evil@theirs.test>")
            client.write(b"STARTTLS\r\nMAIL FROM:<evil@theirs.test>\r\nRCPT TO:<bob@ours.test>\r\n")
            assert client.reply().startswith("220")
            client.encrypt(tls)
            assert "STARTTLS" not in client.hello()
            assert client.say("RCPT TO:<bob@ours.test>").startswith("503")
            assert client.deliver(b"mine\r\n", BOB) == ["250 2.0.0 taken"]

    await asyncio.to_thread(inject)
    assert [(received.sender, received.content) for received in intake.taken] == [("ann@theirs.test", b"mine\r\n")]


@ways_over("starttls")
async def test_mail_in_clear_is_refused_where_tls_is_required(serve: Serve) -> None:
    def in_clear(served: Served) -> None:
        with served.client(greets=False) as client:
            client.hello()
            assert client.say("MAIL FROM:<ann@theirs.test>").startswith("530")

    async with serve(require_tls=True) as served:
        await asyncio.to_thread(in_clear, served)
        assert await served.deliver(b"hello\r\n") == ["250 2.0.0 taken"]


@ways_over("starttls")
async def test_a_client_that_fails_at_tls_is_let_go(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with served.client(greets=False) as client:
            client.hello()
            client.say("STARTTLS")
            client.write(b"MAIL FROM:<ann@theirs.test>\r\n" * 3)
            assert b"250" not in client.rest()

    await asyncio.to_thread(fail)
    assert await served.deliver(b"hello\r\n") == ["250 2.0.0 taken"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# --- The event loop that the router runs on --------------------------------------------------------------------------


@every_way
def test_it_works_on_uvloop(way: Way, tls: Tls, socket_folder: Path) -> None:
    async def deliver() -> None:
        intake = Intake()
        async with serving(intake, way, tls, socket_folder) as served:
            assert await served.deliver(b"x" * 300_000 + b"\r\n") == ["250 2.0.0 taken"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(deliver())
