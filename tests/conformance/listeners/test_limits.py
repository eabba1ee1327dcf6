"""What no client can exceed, and how it hears of it: mail that is turned away stays with the mail server."""

import asyncio
import contextlib
import ssl

import pytest

from tests.conformance.listeners.conftest import Serve
from tests.conformance.listeners.ways import BOB, EVE, Client, Intake, Served, every_way, ways_over
from transports._listener import conversation
from transports._listener.limits import Seldom
from transports.base import Acceptance

ENOUGH = b"x" * 78 + b"\r\n"


@every_way
async def test_a_message_that_is_too_large(intake: Intake, serve: Serve) -> None:
    def deliver(served: Served) -> None:
        with served.client() as client:
            assert client.say("MAIL FROM:<ann@theirs.test> SIZE=65537").startswith("552")
            for content in (ENOUGH * 1000, b"x" * 70_000 + b"\r\n", b"." * 70_000 + b"\r\n"):
                replies = client.deliver(content, BOB, EVE)
                assert replies == ["552 5.3.4 The message is larger than we take"] * len(replies)
            assert {*client.deliver(ENOUGH, BOB, EVE)} == {"250 2.0.0 taken"}

    async with serve(max_size=65536) as served:
        await asyncio.to_thread(deliver, served)
    assert [received.content for received in intake.taken] == [ENOUGH]


@every_way
async def test_a_size_that_is_none_is_a_bad_command(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def talk(served: Served) -> None:
        with served.client() as client:
            for sizes in ("SIZE=\N{SUPERSCRIPT TWO}", "SIZE=x SIZE=5", "SIZE=-5 SIZE=5", "SIZE=5 SIZE=5"):
                client.write(f"MAIL FROM:<ann@theirs.test> {sizes}\r\n".encode())
                assert client.reply()[:3] == "501"
            client.say("MAIL FROM:<ann@theirs.test> SIZE=x SIZE=5")
            assert client.rest() == b"421 4.7.0 Too many bad commands\r\n"

    async with serve(max_bad_commands=5) as served:
        await asyncio.to_thread(talk, served)
    assert not caplog.records


@every_way
async def test_bytes_that_are_no_text_are_a_bad_command(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def talk(served: Served) -> None:
        with served.client() as client:
            for _ in range(2):
                client.write(b"VRFY \xff\r\n")
                assert client.reply()[:3] == "502"
            client.write(b"VRFY \xff\r\n")
            assert client.rest().endswith(b"421 4.7.0 Too many bad commands\r\n")

    async with serve(max_bad_commands=3) as served:
        await asyncio.to_thread(talk, served)
    assert not [record for record in caplog.records if record.exc_info]


@every_way
async def test_more_recipients_than_are_taken(serve: Serve) -> None:
    def deliver(served: Served) -> None:
        with served.client() as client:
            client.say("MAIL FROM:<ann@theirs.test>")
            replies = [client.say("RCPT TO:<bob@ours.test>") for _ in range(101)]
            assert [reply[:9] for reply in replies[-2:]] == ["250 2.1.5", "452 4.5.3"]

    async with serve(max_recipients=100) as served:
        await asyncio.to_thread(deliver, served)


@every_way
async def test_many_large_messages_at_once(intake: Intake, serve: Serve) -> None:
    """What all hold together is bounded, and free again when a message was answered, refused, or its client went."""

    def fill(served: Served, size: int) -> Client:
        client = served.client()
        client.envelope(BOB)
        client.write(ENOUGH * (size // len(ENOUGH)))
        return client

    async with serve(max_size=100_000, max_in_flight=150_000) as served:

        def refused() -> None:
            with served.client() as client:
                while not client.say("MAIL FROM:<ann@theirs.test> SIZE=90000").startswith("452 4.3.1 "):
                    client.say("RSET")
                assert client.deliver(ENOUGH * 1000, BOB) == ["452 4.3.1 Too much mail at once, please try again later"]
                assert client.deliver(ENOUGH, BOB) == ["250 2.0.0 taken"]

        first = await asyncio.to_thread(fill, served, 90_000)
        await asyncio.to_thread(refused)
        first.write(b".\r\n")
        assert await asyncio.to_thread(first.reply) == "250 2.0.0 taken"
        second = await asyncio.to_thread(fill, served, 90_000)
        await asyncio.to_thread(refused)
        for client in (first, second):
            client.__exit__(None, None, None)

        def taken() -> None:
            with served.client() as client:
                while client.deliver(ENOUGH * 1000, BOB)[0][:3] == "452":
                    pass

        await asyncio.to_thread(taken)
    assert max(len(received.content) for received in intake.taken) <= 90_000


@every_way
async def test_more_connections_than_are_taken(serve: Serve) -> None:
    def connect(served: Served) -> None:
        clients = [served.client() for _ in range(2)]
        with served.client(greets=False) as third:
            assert third.greeting == "421 4.7.0 Too many connections, please come back later"
            assert third.rest() == b""
        for client in clients:
            client.__exit__(None, None, None)
        greeting = ""
        while not greeting.startswith("220"):  # as soon as the end of the others was noticed
            with served.client(greets=False) as third:
                greeting = third.greeting

    async with serve(max_connections=2) as served:
        await asyncio.to_thread(connect, served)


@every_way
async def test_connections_of_no_use_make_room_when_all_are_taken(
    intake: Intake, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "MAKES_ROOM", 0.3)
    intake.open.clear()

    def wait(served: Served) -> list[str]:
        with served.client() as client:
            return client.deliver(ENOUGH, BOB)

    def come(served: Served) -> None:
        idle, endless = served.client(), served.client()
        idle.say("NOOP")  # brings nothing
        endless.envelope(BOB)
        endless.write(b"x")
        later = []
        for one in (idle, endless):
            for late in iter(lambda: served.client(greets=False), None):
                if late.greeting.startswith("220"):  # as soon as one was of no use for long enough
                    break
                assert late.greeting.startswith("421 4.7.0 Too many connections")
                late.__exit__(None, None, None)
            assert one.rest() == b"421 4.7.0 Others wait for this connection\r\n"
            one.__exit__(None, None, None)
            later.append(late)
        for one in later:
            one.__exit__(None, None, None)

    async with serve(max_connections=3) as served:
        delivery = asyncio.create_task(asyncio.to_thread(wait, served))
        await asyncio.wait_for(intake.asked.wait(), 20)
        await asyncio.to_thread(come, served)
        intake.open.set()
        assert await delivery == ["250 2.0.0 taken"]  # it was we who were slow


@every_way
async def test_who_says_much_at_once_has_one_command_answered_in_turn_with_all_others(
    intake: Intake, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, turns = 0, list[int]()

    async def go_round() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def admit(_address: str) -> Acceptance:
        turns.append(turn)
        return Acceptance(250, "2.1.5 OK")

    def talk(served: Served) -> None:
        with served.client() as client:
            client.write(b"MAIL FROM:<ann@theirs.test>\r\n" + b"RCPT TO:<bob@ours.test>\r\n" * 100)
            for _ in range(101):
                client.reply()

    monkeypatch.setattr(intake, "admit", admit)
    async with serve() as served:
        going = asyncio.create_task(go_round())
        await asyncio.to_thread(talk, served)
        going.cancel()
    assert len(set(turns)) == len(turns) == 100


async def test_what_happens_at_any_rate_is_told_once_a_minute() -> None:
    seldom = Seldom()
    assert [seldom.count(now) for now in (0.0, 1.0, 59.0, 60.0, 60.5, 121.0)] == [1, 0, 0, 3, 0, 2]


@ways_over("tcp", "starttls")
async def test_more_connections_of_one_client_than_are_taken(serve: Serve) -> None:
    def connect(served: Served) -> None:
        with served.client(), served.client(greets=False) as second:
            assert second.greeting.startswith("421 4.7.0 ")

    async with serve(max_client_connections=1) as served:
        await asyncio.to_thread(connect, served)


@ways_over("tcp", "starttls")
async def test_only_clients_may_connect(serve: Serve) -> None:
    def connect(served: Served) -> None:
        with served.client(greets=False) as client:
            assert client.greeting.startswith("554 5.7.1 ")
            assert client.rest() == b""

    async with serve(clients=["192.0.2.0/24"]) as served:
        await asyncio.to_thread(connect, served)


@every_way
async def test_bad_commands_end_a_connection_and_unknown_recipients_do_not(serve: Serve) -> None:
    def talk(served: Served) -> None:
        with served.client() as client:
            for _ in range(5):  # as a mail server pipelines a message for nobody of ours
                client.write(b"MAIL FROM:<ann@theirs.test>\r\nRCPT TO:<nobody@ours.test>\r\nDATA\r\nRSET\r\n")
                assert [client.reply()[:3] for _ in range(4)] == ["250", "550", "503", "250"]
            client.say("VRFY")
            client.deliver(b"hello\r\n", BOB)  # forgives
            assert client.say("VRFY").startswith("501")
            assert client.say("AUTH PLAIN").startswith("502")
            client.write(b"NONSENSE\r\nMAIL FROM:<ann@theirs.test>\r\n")
            assert client.reply().startswith("500")
            assert client.rest() == b"421 4.7.0 Too many bad commands\r\n"

    async with serve(max_bad_commands=3) as served:
        await asyncio.to_thread(talk, served)


@every_way
async def test_a_session_ends_between_messages(intake: Intake, serve: Serve) -> None:
    intake.open.clear()

    def deliver(served: Served) -> tuple[list[str], bytes]:
        with served.client() as client:
            return client.deliver(b"hello\r\n", BOB), client.rest()

    async with serve(max_session=0.5) as served:
        delivery = asyncio.create_task(asyncio.to_thread(deliver, served))
        await asyncio.wait_for(intake.asked.wait(), 20)
        idle = await asyncio.to_thread(served.client, greets=False)
        farewell = b"421 4.4.2 This connection has been open for too long\r\n"
        assert await asyncio.to_thread(idle.rest) == farewell
        intake.open.set()
        assert await delivery == (["250 2.0.0 taken"], farewell)
        idle.__exit__(None, None, None)


@every_way
async def test_a_client_that_drips_is_as_slow_as_a_silent_one(intake: Intake, serve: Serve) -> None:
    def drip(served: Served) -> bytes:
        with served.client() as client:
            client.envelope(BOB)
            client._socket.settimeout(0.05)
            said = b""
            while not said:
                client.write(b"x")
                with contextlib.suppress(TimeoutError):
                    said = client._socket.recv(100)
            return said

    async with serve(timeout=0.5) as served:
        assert await asyncio.to_thread(drip, served) == b"421 4.4.2 Nothing came for too long\r\n"
    assert intake.taken == []


@every_way
async def test_a_slow_client_that_gets_on_may_take_its_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports._listener.conversation.PROGRESS", len(ENOUGH))

    async with serve(timeout=0.5) as served:
        client = await asyncio.to_thread(served.client)
        await asyncio.to_thread(client.envelope, BOB)
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 1.5:
            client.write(ENOUGH)
            await asyncio.sleep(0.05)
        client.write(b".\r\n")
        assert await asyncio.to_thread(client.reply) == "250 2.0.0 taken"
        client.__exit__(None, None, None)


@every_way
async def test_a_client_that_does_not_listen_is_cut(serve: Serve) -> None:
    def talk(served: Served) -> None:
        with served.client() as client:
            client._socket.settimeout(0.2)
            while True:
                with contextlib.suppress(TimeoutError):
                    client.write(b"HELP\r\n" * 5_000)

    async with serve(timeout=0.5) as served:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.to_thread(talk, served)
