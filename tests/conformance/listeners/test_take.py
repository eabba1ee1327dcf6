"""A message that is handed over is taken as it is, once, and answered when it is safe."""

import asyncio

from tests.conformance.listeners.ways import ANN, BOB, EVE, Client, Intake, Served, every_way
from transports.base import Acceptance
from transports.errors import Temporary

CONTENT = b"From: a@example.com\r\nSubject: hello\r\n\r\nhello\r\n"


@every_way
async def test_a_message_is_taken_byte_for_byte_with_its_envelope(intake: Intake, served: Served) -> None:
    content = (
        b"Subject: \xfc\r\n\r\n.\r\n..\r\n.dot\r\n\xff\x00\x80\nbare\rbare\r\n" + b"x" * 300_000 + b"\r\n\r\n \t\r\n"
    )
    replies = await served.deliver(content, BOB, EVE)
    assert set(replies) == {"250 2.0.0 taken"}
    (received,) = intake.taken
    assert received.content == content
    assert (received.sender, received.recipients) == (ANN, (BOB, EVE))
    assert received.received_at.utcoffset() is not None
    await served.deliver(content, BOB, sender="")
    assert intake.taken[1].sender == ""
    assert intake.taken[1].place != received.place


@every_way
async def test_odd_contents(intake: Intake, served: Served) -> None:
    contents = [
        b"",
        b"\r\n",
        b".\r\n",
        b"..\r\n.\r\n",
        b"\r\n.\r\n.\r\n\r\n",
        b"a.\r\nb.\r\n" * 50_000,
        b"long: " + b"x" * 1_000_000 + b".\r\n",
        b"." * 200_000 + b"\r\n",
        b"\n.\r\n",
    ]

    def deliver() -> None:
        with served.client() as client:
            for content in contents:
                assert client.deliver(content, BOB) == ["250 2.0.0 taken"]

    await asyncio.to_thread(deliver)
    assert [received.content for received in intake.taken] == contents


@every_way
async def test_an_end_that_comes_in_pieces(intake: Intake, served: Served) -> None:
    def deliver() -> None:
        with served.client() as client:
            client.envelope(BOB)
            for byte in CONTENT[-5:] + b".\r\n":
                client.write(bytes([byte]))
            assert client.reply() == "250 2.0.0 taken"

    await asyncio.to_thread(deliver)
    assert intake.taken[0].content == CONTENT[-5:]


@every_way
async def test_a_smuggled_end_of_the_data_stays_inside(intake: Intake, served: Served) -> None:
    for end in (
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\n.\r",
        b"\r.\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n\x00.\r\n",
    ):
        content = (
            b"Subject: a\r\n\r\na" + end + b"MAIL FROM:<evil@theirs.test>\r\nRCPT TO:<bob@ours.test>\r\nDATA\r\nb\r\n"
        )

        def deliver(content: bytes = content) -> tuple[str, str]:
            with served.client() as client:
                client.envelope(BOB)
                client.write(content + b".\r\n")
                return client.reply(), client.say("NOOP")

        replies = await asyncio.to_thread(deliver)
        assert [reply[:3] for reply in replies] == ["250", "250"]
        assert intake.taken.pop().content == content.replace(b"\r\n.\n", b"\r\n\n").replace(b"\r\n.\r", b"\r\n\r")
        assert intake.taken == []


@every_way
async def test_commands_may_be_pipelined(intake: Intake, served: Served) -> None:
    def deliver() -> list[str]:
        with served.client() as client:
            assert "PIPELINING" in client.hello()
            one = b"MAIL FROM:<ann@theirs.test>\r\nRCPT TO:<bob@ours.test>\r\nDATA\r\n%d\r\n.\r\n"
            client.write(one % 1 + one % 2 + b"QUIT\r\n")
            return client.rest().decode().splitlines()

    assert [line[:3] for line in await asyncio.to_thread(deliver)] == ["250", "250", "354", "250"] * 2 + ["221"]
    assert [received.content for received in intake.taken] == [b"1\r\n", b"2\r\n"]


@every_way
async def test_the_answer_comes_only_after_the_message_is_safe(intake: Intake, served: Served) -> None:
    intake.open.clear()
    delivery = asyncio.create_task(served.deliver(CONTENT))
    await asyncio.wait_for(intake.asked.wait(), 20)
    assert not (await asyncio.wait([delivery], timeout=0.1))[0]
    intake.open.set()
    assert await delivery == ["250 2.0.0 taken"]
    assert len(intake.taken) == 1


@every_way
async def test_each_recipient_has_an_answer(intake: Intake, served: Served) -> None:
    intake.answers = [Acceptance(250, "2.0.0 a"), Acceptance(450, "4.2.1 b"), Acceptance(550, "5.1.1 c\r\n250 yes")]
    replies = await served.deliver(CONTENT, BOB, EVE, "carl@ours.test")
    if served.way.kind == "lmtp":
        assert replies == ["250 2.0.0 a", "450 4.2.1 b", "550 5.1.1 c 250 yes"]
    else:  # one answer for all, by which nobody loses the message
        assert replies == ["450 4.2.1 b"]
        intake.answers = [Acceptance(250, "2.0.0 a"), Acceptance(550, "5.7.1 no")]
        assert await served.deliver(CONTENT, BOB, EVE) == ["550 5.7.1 no"]


@every_way
async def test_a_fault_of_ours_defers_for_everyone_without_telling_why(intake: Intake, served: Served) -> None:
    count = 2 if served.way.kind == "lmtp" else 1
    intake.fault = RuntimeError("secret internals")
    assert (
        await served.deliver(CONTENT, BOB, EVE)
        == ["451 4.3.0 Something went wrong here, please try again later"] * count
    )
    intake.fault = Temporary("the disk is full")
    assert await served.deliver(CONTENT, BOB, EVE) == ["451 4.3.0 Please try again later"] * count
    intake.fault = None
    intake.answers = [Acceptance(250, "too few")]
    assert (
        await served.deliver(CONTENT, BOB, EVE)
        == ["451 4.3.0 Something went wrong here, please try again later"] * count
    )
    intake.answers = None
    assert await served.deliver(CONTENT, BOB, EVE) == ["250 2.0.0 taken"] * count


@every_way
async def test_what_was_not_ended_is_not_taken(intake: Intake, served: Served) -> None:
    def begin() -> None:
        with served.client() as client:
            client.envelope(BOB)
            client.write(CONTENT + b".\r")

    await asyncio.to_thread(begin)
    assert await served.deliver(CONTENT) == ["250 2.0.0 taken"]
    assert [received.content for received in intake.taken] == [CONTENT]


@every_way
async def test_a_client_that_goes_while_its_message_is_accepted(intake: Intake, served: Served) -> None:
    intake.open.clear()

    def begin() -> Client:
        client = served.client()
        client.envelope(BOB)
        client.write(CONTENT + b".\r\n")
        return client

    client = await asyncio.to_thread(begin)
    await asyncio.wait_for(intake.asked.wait(), 20)
    client.__exit__(None, None, None)
    intake.open.set()
    assert await served.deliver(CONTENT) == ["250 2.0.0 taken"]
