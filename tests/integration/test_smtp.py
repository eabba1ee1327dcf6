"""The SMTP transport against real Postfix, and against clients that others wrote."""

import asyncio
import contextlib
import shutil
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers.dovecot import PASSWORD
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls
from transports._listener import MailListener
from transports.base import Acceptance, Envelope, Outcome, Permanent, Received, Temporary, Unauthorized, Unreachable
from transports.smtp import SmtpListenerSettings, SmtpRelaySettings

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
    async with SmtpRelaySettings(**({"host": "localhost"} | settings)).open() as relay:
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


# --- Listener --------------------------------------------------------------------------------------------------------


class Post:
    """What takes the mail: answers 250 for everyone until told otherwise."""

    def __init__(self) -> None:
        self.taken: list[Received] = []
        self.answers: list[Acceptance] | None = None
        self.fault: Exception | None = None
        self.asked = asyncio.Event()
        self.took = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def accept(self, received: Received) -> Sequence[Acceptance]:
        self.asked.set()
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        self.taken.append(received)
        self.took.set()
        return self.answers or [Acceptance(250, "2.0.0 taken")] * len(received.recipients)

    async def knows(self, address: str) -> bool:
        return "@" in address and not address.startswith("nobody")


@pytest.fixture
def post() -> Post:
    return Post()


@contextlib.asynccontextmanager
async def serving(post: Post, **settings: Any) -> AsyncIterator[tuple[MailListener, asyncio.Task[None]]]:
    async with SmtpListenerSettings(**({"listen": "127.0.0.1:0"} | settings)).open() as listener:
        task = asyncio.create_task(listener.serve(post.accept, post.knows))
        try:
            yield listener, task
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def port(post: Post) -> AsyncIterator[int]:
    async with serving(post) as (listener, _):
        yield listener.port


def talk(port: int, *lines: bytes) -> list[bytes]:
    """Say raw lines, wait for the reply to each, and return the replies; the greeting is the first."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        stream = connection.makefile("rb")
        replies = [stream.readline()]
        for line in lines:
            connection.sendall(line)
            while (reply := stream.readline())[3:4] == b"-":
                pass
            replies.append(reply)
        return replies


def deliver(port: int, content: bytes, *recipients: str, sender: str = "ann@theirs.test") -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=20) as client:
        client.ehlo()
        client.mail(sender)
        for recipient in recipients or ("bob@ours.test",):
            client.rcpt(recipient)
        return client.data(content)


HELLO = (b"EHLO client.test\r\n", b"MAIL FROM:<ann@theirs.test>\r\n", b"RCPT TO:<bob@ours.test>\r\n", b"DATA\r\n")


async def test_a_message_is_taken_byte_for_byte(post: Post, port: int) -> None:
    content = b"Subject: \xfc\r\n\r\n.\r\n..\r\n.dot\r\n\xff\x00\x80\r\n" + b"x" * 300_000 + b"\r\n\r\n \t\r\n"
    assert await asyncio.to_thread(deliver, port, content, "bob@ours.test", "eve@ours.test") == (250, b"2.0.0 taken")
    (received,) = post.taken
    assert received.content == content
    assert (received.sender, received.recipients) == ("ann@theirs.test", ("bob@ours.test", "eve@ours.test"))
    assert received.received_at.utcoffset() is not None
    await asyncio.to_thread(deliver, port, content, sender="")
    assert post.taken[1].sender == ""
    assert post.taken[1].place != received.place


async def test_a_smuggled_end_of_the_data_stays_inside(post: Post, port: int) -> None:
    for end in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n\x00.\r\n"):
        content = b"Subject: a\r\n\r\na" + end + b"MAIL FROM:<evil@theirs.test>\r\nRCPT TO:<bob@ours.test>\r\nDATA\r\nb"
        replies = await asyncio.to_thread(talk, port, *HELLO, content + b"\r\n.\r\n", b"NOOP\r\n")
        assert [reply[:3] for reply in replies[-2:]] == [b"250", b"250"]
        assert (
            post.taken.pop().content == content.replace(b"\r\n.\n", b"\r\n\n").replace(b"\r\n.\r", b"\r\n\r") + b"\r\n"
        )
        assert post.taken == []


async def test_the_answer_comes_only_after_the_message_is_safe(post: Post, port: int) -> None:
    post.open.clear()
    delivery = asyncio.create_task(asyncio.to_thread(deliver, port, CONTENT))
    await asyncio.wait_for(post.asked.wait(), 20)
    assert not (await asyncio.wait([delivery], timeout=0.1))[0]
    post.open.set()
    assert (await delivery)[0] == 250
    assert len(post.taken) == 1


async def test_a_fault_of_ours_defers_without_telling_why(post: Post, port: int) -> None:
    post.fault = RuntimeError("secret internals")
    code, words = await asyncio.to_thread(deliver, port, CONTENT)
    assert code == 451
    assert words.startswith(b"4.3.0")
    assert b"secret" not in words
    assert b"RuntimeError" not in words
    post.fault = None
    post.answers = [Acceptance(250, "too"), Acceptance(250, "many")]
    assert (await asyncio.to_thread(deliver, port, CONTENT))[0] == 451


async def test_what_is_to_be_tried_later_is_a_warning_without_a_traceback(
    post: Post, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    post.fault = Temporary("the disk is full")
    assert await asyncio.to_thread(deliver, port, CONTENT) == (451, b"4.3.0 Please try again later")
    (record,) = [record for record in caplog.records if record.name == "transports._listener"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "the disk is full" in record.getMessage()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([Acceptance(250, "a"), Acceptance(250, "b")], (250, b"a")),
        ([Acceptance(250, "a"), Acceptance(550, "5.7.1 no")], (550, b"5.7.1 no")),
        ([Acceptance(250, "a"), Acceptance(451, "4.3.0 later")], (451, b"4.3.0 later")),
        ([Acceptance(550, "5.7.1 no"), Acceptance(451, "4.3.0 later")], (451, b"4.3.0 later")),
        ([Acceptance(250, "a"), Acceptance(550, "no\r\n250 yes")], (550, b"no 250 yes")),
    ],
)
async def test_one_answer_for_all_recipients_loses_nothing(
    post: Post, port: int, answers: list[Acceptance], expected: tuple[int, bytes]
) -> None:
    post.answers = answers
    assert await asyncio.to_thread(deliver, port, CONTENT, "bob@ours.test", "eve@ours.test") == expected


async def test_an_address_that_is_not_ours_is_refused(post: Post, port: int) -> None:
    replies = await asyncio.to_thread(talk, port, *HELLO[:2], b"RCPT TO:<nobody@ours.test>\r\n", b"DATA\r\n")
    assert replies[3].startswith(b"550 5.1.1 ")
    assert replies[4].startswith(b"503")
    replies = await asyncio.to_thread(talk, port, *HELLO[:2], "RCPT TO:<jürgen@ours.test>\r\n".encode(), *HELLO[2:3])
    assert [reply[:3] for reply in replies[3:]] == [b"250", b"250"]
    replies = await asyncio.to_thread(talk, port, *HELLO[:2], b"RCPT TO:<\xff@ours.test>\r\n")
    assert replies[3].startswith(b"553 5.1.3 ")
    replies = await asyncio.to_thread(talk, port, HELLO[0], b"MAIL FROM:<\xff@ours.test>\r\n")
    assert replies[2].startswith(b"553 5.1.7 ")
    assert post.taken == []


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        (b"<bob@ours.test>", b"250"),
        (b" <bob@ours.test> ", b"250"),
        (b'<"bob (b) <b>"@ours.test>', b"250"),
        (b"<@relay.test:bob@ours.test>", b"250"),
        (b"<bob@[127.0.0.1]>", b"250"),
        (b"<", b"553"),
        (b"<bob@ours.test", b"553"),
        (b"<bob@ours.test><", b"501"),
        (b"bob@ours.test", b"553"),
        (b"<>", b"550"),
    ],
)
async def test_the_path_of_a_recipient(post: Post, port: int, path: bytes, reply: bytes) -> None:
    replies = await asyncio.to_thread(talk, port, *HELLO[:2], b"RCPT TO:" + path + b"\r\n")
    assert replies[3][:3] == reply
    if reply == b"250":
        await asyncio.to_thread(talk, port, *HELLO[:2], b"RCPT TO:" + path + b"\r\n", b"DATA\r\n", b".\r\n")
        expected = path.decode().strip().removeprefix("<").removesuffix(">").removeprefix("@relay.test:")
        assert post.taken[0].recipients == (expected,)


async def test_limits(post: Post) -> None:
    async with serving(post, max_size=65536, max_recipients=100) as (listener, _):

        def offered() -> str:
            with smtplib.SMTP("127.0.0.1", listener.port, local_hostname="client.test", timeout=20) as client:
                client.ehlo()
                assert not client.has_extn("auth")
                assert client.has_extn("8bitmime")
                assert client.has_extn("smtputf8")
                return client.esmtp_features["size"]

        assert await asyncio.to_thread(offered) == "65536"
        assert (await asyncio.to_thread(deliver, listener.port, b"x" * 70 + b"\r\n" * 70_000))[0] == 552
        assert (await asyncio.to_thread(deliver, listener.port, b"x" * 70_000))[0] in (500, 552)
        replies = await asyncio.to_thread(talk, listener.port, HELLO[0], HELLO[1][:-2] + b" SIZE=65537\r\n")
        assert replies[2].startswith(b"552")
        replies = await asyncio.to_thread(talk, listener.port, *HELLO[:2], *[HELLO[2]] * 101)
        assert [reply[:9] for reply in replies[-2:]] == [b"250 2.1.5", b"452 4.5.3"]
    assert post.taken == []


async def test_only_clients_may_connect(post: Post) -> None:
    async with serving(post, clients=["192.0.2.0/24"]) as (listener, _):
        (greeting,) = await asyncio.to_thread(talk, listener.port)
        assert greeting.startswith(b"554 5.7.1 ")


async def test_ipv6(post: Post) -> None:
    async with serving(post, listen="[::1]:0") as (listener, _):
        reader, writer = await asyncio.open_connection("::1", listener.port)
        assert (await reader.readline()).startswith(b"220 ")
        writer.close()


async def test_starttls(post: Post, tls: Tls) -> None:
    async with serving(post, cert_file=tls.certificate, key_file=tls.key) as (listener, _):

        def send_encrypted() -> None:
            with smtplib.SMTP("localhost", listener.port, local_hostname="client.test", timeout=20) as client:
                client.starttls(context=tls.client_context())
                assert isinstance(client.sock, ssl.SSLSocket)
                client.sendmail("ann@theirs.test", ["bob@ours.test"], CONTENT)
                assert not client.has_extn("auth")

        await asyncio.to_thread(send_encrypted)
        settings = {"port": listener.port, "security": "starttls", "ca_file": tls.ca_file}
        ((outcome,),) = await send(settings, Envelope(CRM, ("bob@ours.test",), CONTENT))
        assert outcome.state == "accepted"
    assert [received.content for received in post.taken] == [CONTENT] * 2


async def test_a_client_that_fails_at_tls_is_let_go(post: Post, tls: Tls, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(post, cert_file=tls.certificate, key_file=tls.key) as (listener, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"EHLO client.test\r\nSTARTTLS\r\n")
        await reader.readuntil(b"220 Ready to start TLS\r\n")
        writer.write(b"MAIL FROM:<ann@theirs.test>\r\n" * 3)
        assert b"250" not in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert (await asyncio.to_thread(deliver, listener.port, CONTENT))[0] == 250
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"missing\.pem cannot be used: No such file"):
        SmtpListenerSettings(listen="127.0.0.1:0", cert_file=tmp_path / "missing.pem").open()


async def test_a_port_in_use_is_said_in_words(post: Post) -> None:
    async with serving(post) as (listener, _):
        with pytest.raises(Temporary, match=f"cannot listen at 127.0.0.1:{listener.port}: another program"):
            async with SmtpListenerSettings(listen=f"127.0.0.1:{listener.port}").open():
                pass
    async with SmtpListenerSettings(listen=f"127.0.0.1:{listener.port}").open():
        pass


async def test_stopping_lets_a_message_finish_and_sends_the_others_away(post: Post) -> None:
    async with serving(post) as (listener, task):
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await idle_reader.readline()
        post.open.clear()
        delivery = asyncio.create_task(asyncio.to_thread(deliver_raw, listener.port))
        await asyncio.wait_for(post.asked.wait(), 20)
        task.cancel()
        assert (await asyncio.wait_for(idle_reader.read(), 20)).startswith(b"421 4.3.2 ")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", listener.port)
        assert not delivery.done()
        post.open.set()
        assert (await delivery).startswith(b"250 2.0.0 taken\r\n421 4.3.2 ")
        idle_writer.close()
    assert len(post.taken) == 1


async def test_a_message_that_is_not_safe_in_time_gets_no_250(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports._listener.GRACE", 0.05)
    post.open.clear()
    async with serving(post) as (listener, task):
        delivery = asyncio.create_task(asyncio.to_thread(deliver_raw, listener.port))
        await asyncio.wait_for(post.asked.wait(), 20)
        task.cancel()
        assert await delivery == b""
    assert post.taken == []


def deliver_raw(port: int) -> bytes:
    """Deliver, and return all that is said after the content until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        stream = connection.makefile("rb")
        stream.readline()
        for line in HELLO:
            connection.sendall(line)
            while stream.readline()[3:4] == b"-":
                pass
        connection.sendall(CONTENT + b".\r\n")
        try:
            return stream.read()
        except ConnectionResetError:
            return b""


async def test_postfix_delivers_and_keeps_what_we_defer(
    post: Post, port: int, postfix: Postfix, new_mailbox: Callable[[str], str]
) -> None:
    to = f"bob@{postfix.domain_for(port)}"
    post.fault = RuntimeError()
    await asyncio.to_thread(deliver, postfix.smtp, CONTENT, to, sender=new_mailbox("ann"))
    await asyncio.wait_for(post.asked.wait(), 20)
    post.fault = None
    await asyncio.wait_for(post.took.wait(), 20)
    assert post.taken[0].recipients == (to,)
    assert post.taken[0].content.endswith(CONTENT)


@pytest.mark.parametrize(
    "command",
    [
        ["smtp-source", "-c", "-s", "5", "-m", "50", "-l", "8000", "-f", "ann@theirs.test", "-t", "bob@ours.test"],
        ["swaks", "--server", "127.0.0.1", "--from", "ann@theirs.test", "--to", "bob@ours.test", "--body", ".\n..\n"],
    ],
    ids=lambda command: command[0],
)
async def test_clients_that_others_wrote(post: Post, port: int, command: list[str]) -> None:
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin")
    assert program is not None, f"{command[0]} is not installed: tests/install-servers"
    where = ["--port", str(port)] if command[0] == "swaks" else [f"127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(program, *command[1:], *where, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    assert len(post.taken) == (50 if command[0] == "smtp-source" else 1)
