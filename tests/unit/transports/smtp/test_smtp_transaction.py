"""PIPELINING, and messages with more recipients than one transaction takes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, SILENCE, ScriptedSmtp, talking
from transports.base import Envelope, Outcome
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.wire import Wire

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"
TOO_MANY = "452 4.5.3 Error: too many recipients"


class Begin:
    """Counts how often a message was begun."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


def relay_to(server: ScriptedSmtp, **settings: Any) -> SmtpRelay:
    given = {"host": "127.0.0.1", "port": server.port, "security": "none", **settings}
    return SmtpRelay(SmtpRelaySettings.model_validate(given))


def envelope(*recipients: str, content: Any = CONTENT) -> Envelope:
    return Envelope("crm@ours.test", recipients or ("ann@t",), content)


def states(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(one.state, one.code) for one in outcomes]


def verbs(commands: Sequence[str]) -> str:
    return " ".join(line.split(":")[0].split()[0] for line in commands)


# PIPELINING


async def heard_before_the_first_answer(**settings: Any) -> bytes:
    """What a server has read that keeps its answer to MAIL back."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 Hello\r\n")
        await reader.readline()
        writer.write(b"250-Hello\r\n250 PIPELINING\r\n")
        await heard.put(await reader.readuntil(b"DATA\r\n"))
        writer.write(b"250 Ok\r\n" * 3 + b"354 Go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 2.0.0 Ok\r\n")
        await reader.read()

    async with talking(talk) as port:
        given = {"host": "127.0.0.1", "port": port, "security": "none", **settings}
        async with SmtpRelay(SmtpRelaySettings.model_validate(given)) as relay, asyncio.timeout(10):
            outcomes = await relay.send(envelope("ann@t", "bob@t"), Begin())
    assert states(outcomes) == [("accepted", "2.0.0")] * 2
    return await heard.get()


async def test_commands_go_out_together_where_the_server_takes_them_so() -> None:
    lines = (await heard_before_the_first_answer()).decode().splitlines()
    assert lines == ["MAIL FROM:<crm@ours.test>", "RCPT TO:<ann@t>", "RCPT TO:<bob@t>", "DATA"]


async def test_data_that_was_allowed_though_nobody_is_to_get_it_is_ended_empty() -> None:
    script = {"RCPT TO:<gone@": "550 5.1.1 Gone", ".": ["554 5.5.1 No valid recipients", "250 2.0.0 Ok"]}
    async with ScriptedSmtp(script, ["PIPELINING"]) as server, relay_to(server) as relay:
        assert states(await relay.send(envelope("gone@t"), Begin())) == [("refused", "5.1.1")]
        assert states(await relay.send(envelope(), Begin())) == [("accepted", "2.0.0")]
    assert server.messages == [b"", CONTENT]
    assert len(server.commands) == 1
    assert verbs(server.commands[0]) == "EHLO MAIL RCPT DATA RSET MAIL RCPT DATA QUIT"


async def test_a_sender_who_is_refused_ends_the_whole_group() -> None:
    script = {"MAIL": ["550 5.7.1 Not you", "250 Ok"], ".": ["554 5.5.1 Nothing", "250 2.0.0 Ok"]}
    async with ScriptedSmtp(script, ["PIPELINING"]) as server, relay_to(server) as relay:
        assert states(await relay.send(envelope("ann@t", "bob@t"), Begin())) == [("refused", "5.7.1")] * 2
        assert states(await relay.send(envelope(), Begin())) == [("accepted", "2.0.0")]
    assert server.messages == [b"", CONTENT]
    script = {
        "MAIL": ["451 4.7.1 Later", "250 Ok"],
        "RCPT": ["503 5.5.1 MAIL first", "250 Ok"],
        "DATA": ["503 5.5.1 No"],
    }
    async with ScriptedSmtp(script, ["PIPELINING"]) as server, relay_to(server) as relay:
        assert states(await relay.send(envelope(), Begin())) == [("deferred", "4.7.1")]
    assert server.messages == []


async def test_a_kept_connection_that_ended_costs_no_outcome_with_pipelining_either() -> None:
    for fault in (CLOSE, "421 4.4.2 Timeout"):
        script = {"MAIL": ["250 Ok", fault, "250 Ok"]}
        async with ScriptedSmtp(script, ["PIPELINING"]) as server, relay_to(server) as relay:
            begin = Begin()
            for _ in range(2):
                assert states(await relay.send(envelope(), begin)) == [("accepted", "2.0.0")]
            assert begin.count == 2
            assert len(server.commands) == 2


async def test_answers_that_nobody_asked_for_end_a_connection() -> None:
    script = {".": ["250 2.0.0 Ok\r\n250 2.0.0 Once more", "250 2.0.0 Ok"]}
    async with ScriptedSmtp(script, ["PIPELINING"]) as server, relay_to(server) as relay:
        for _ in range(2):
            assert states(await relay.send(envelope(), Begin())) == [("accepted", "2.0.0")]
            assert relay.warm == len(server.commands) - 1
        assert len(server.commands) == 2


# Many recipients


@pytest.mark.parametrize("offers", [(), ("PIPELINING",)])
@pytest.mark.parametrize(
    "words", [TOO_MANY, "452 Too many", "552 5.5.3 Enough", "550 Too many recipients", "451 4.5.3 x"]
)
async def test_o11_who_does_not_fit_goes_in_the_next_transaction_at_once(offers: Sequence[str], words: str) -> None:
    people = [f"{n}@t" for n in range(10)]
    # Of each transaction the server takes four.
    taken = ["250 2.1.5 Ok"] * 4
    script = {"RCPT": [*taken, *[words] * 6, *taken, *[words] * 2, *taken]}
    begin = Begin()
    async with ScriptedSmtp(script, offers) as server, relay_to(server) as relay:
        outcomes = await relay.send(envelope(*people), begin)
    assert states(outcomes) == [("accepted", "2.0.0")] * 10
    assert [one.recipient for one in outcomes] == people
    assert begin.count == 1
    assert server.messages == [CONTENT] * 3
    (commands,) = server.commands
    asked = " ".join(commands).split("MAIL FROM")[1:]
    assert [group.count("RCPT") for group in asked] == [10, 6, 2]


async def test_a_server_that_takes_nobody_is_not_asked_for_ever() -> None:
    async with ScriptedSmtp({"RCPT": TOO_MANY}) as server, relay_to(server) as relay:
        outcomes = await relay.send(envelope("ann@t", "bob@t"), Begin())
    assert states(outcomes) == [("deferred", "4.5.3")] * 2
    assert verbs(server.commands[0]).count("MAIL") == 1


async def test_the_profile_says_how_many_go_at_once() -> None:
    people = [f"{n}@t" for n in range(250)]
    async with ScriptedSmtp() as server, relay_to(server) as relay:
        assert states(await relay.send(envelope(*people), Begin())) == [("accepted", "2.0.0")] * 250
        assert len(server.messages) == 3
    async with ScriptedSmtp() as server, relay_to(server, recipients=1) as relay:
        assert states(await relay.send(envelope(*people[:3]), Begin())) == [("accepted", "2.0.0")] * 3
        assert len(server.messages) == 3


async def test_each_transaction_has_its_own_answer() -> None:
    script = {".": ["250 2.0.0 Ok", "554 5.7.1 Enough of this", "450 4.2.1 Later"]}
    async with ScriptedSmtp(script) as server, relay_to(server, recipients=1) as relay:
        outcomes = await relay.send(envelope("a@t", "b@t", "c@t"), Begin())
    assert states(outcomes) == [("accepted", "2.0.0"), ("refused", "5.7.1"), ("deferred", "4.2.1")]


async def test_a_server_that_ends_after_each_transaction_costs_nobody() -> None:
    script = {"MAIL": ["250 Ok", "421 4.7.0 One a connection", "250 Ok", CLOSE, "250 Ok"]}
    begin = Begin()
    async with ScriptedSmtp(script) as server, relay_to(server, recipients=1) as relay:
        outcomes = await relay.send(envelope("a@t", "b@t", "c@t"), begin)
    assert states(outcomes) == [("accepted", "2.0.0")] * 3
    assert begin.count == 1
    assert len(server.commands) == 3


async def test_who_was_not_asked_for_when_the_connection_ended_is_not_unknown() -> None:
    async with ScriptedSmtp({".": ["250 2.0.0 Ok", CLOSE]}) as server, relay_to(server, recipients=1) as relay:
        outcomes = await relay.send(envelope("a@t", "b@t", "c@t"), Begin())
    assert states(outcomes) == [("accepted", "2.0.0"), ("unknown", "4.4.2"), ("deferred", "4.4.2")]


async def test_a_server_that_does_not_come_back_defers_the_rest() -> None:
    script = {"MAIL": ["250 Ok", CLOSE], "greeting": ["220 Hello", "421 4.3.2 Not now"]}
    async with ScriptedSmtp(script) as server, relay_to(server, recipients=1) as relay:
        outcomes = await relay.send(envelope("a@t", "b@t"), Begin())
    assert states(outcomes) == [("accepted", "2.0.0"), ("deferred", "4.4.1")]
    assert "421 4.3.2 Not now" in outcomes[1].text


# Content in pieces


class Pieces:
    """A content of which no two pieces are in memory at the same time."""

    size = 90 << 20
    is_seven_bit = True
    headers_are_ascii = True

    def __init__(self, fails_after: int | None = None) -> None:
        self.given = 0
        self.most_ahead = 0
        self._fails_after = fails_after

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line = b"x" * 62 + b"\r\n"
        while self.given < self.size:
            if self._fails_after is not None and self.given >= self._fails_after:
                raise LookupError("the attachment is gone")
            piece = line * 1024
            self.given += len(piece)
            yield piece


async def test_a_large_content_is_sent_no_faster_than_it_is_read() -> None:
    content, read = Pieces(), 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        writer.write(b"220 Hello\r\n")
        for answer in (b"250-Hello\r\n250 SIZE\r\n", b"250 Ok\r\n", b"250 Ok\r\n", b"354 Go on\r\n"):
            await reader.readline()
            writer.write(answer)
        tail = b""
        while tail != b"\r\n.\r\n":
            data = await reader.read(1 << 20)
            read += len(data)
            tail = (tail + data)[-5:]
            content.most_ahead = max(content.most_ahead, content.given - read)
        writer.write(b"250 2.0.0 Ok\r\n")
        await reader.read()

    async with talking(talk) as port:
        given = {"host": "127.0.0.1", "port": port, "security": "none"}
        async with SmtpRelay(SmtpRelaySettings.model_validate(given)) as relay:
            outcomes = await relay.send(envelope(content=content), Begin())
    assert states(outcomes) == [("accepted", "2.0.0")]
    assert read == content.size + len(b".\r\n")
    assert content.most_ahead < 16 << 20  # what the kernel's buffers and ours hold


async def test_a_content_that_cannot_be_read_to_its_end_is_never_ended() -> None:
    async with ScriptedSmtp() as server, relay_to(server) as relay:
        outcomes = await relay.send(envelope("ann@t", "bob@t", content=Pieces(fails_after=1 << 20)), Begin())
        assert states(outcomes) == [("deferred", "4.3.0")] * 2
        assert "the attachment is gone" in outcomes[0].text
        await asyncio.wait_for(server.ended[0].wait(), 10)
    assert server.messages == []


async def test_a_connection_that_ends_before_the_final_dot_leaves_nothing_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard, lost = asyncio.Event(), Wire.connection_lost

    def connection_lost(wire: Wire, error: Exception | None) -> None:
        lost(wire, error)
        heard.set()

    monkeypatch.setattr(Wire, "connection_lost", connection_lost)
    async with ScriptedSmtp() as server, relay_to(server) as relay:

        class Ending(Pieces):
            size = len(CONTENT)

            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield CONTENT
                server.end(0)
                await asyncio.wait_for(heard.wait(), 10)

        assert states(await relay.send(envelope(content=Ending()), Begin())) == [("deferred", "4.4.2")]


async def test_each_transaction_sends_the_whole_content() -> None:
    class Twice(Pieces):
        size = len(CONTENT)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield CONTENT[:10]
            yield CONTENT[10:]

    async with ScriptedSmtp() as server, relay_to(server, recipients=1) as relay:
        outcomes = await relay.send(envelope("ann@t", "bob@t", content=Twice()), Begin())
    assert states(outcomes) == [("accepted", "2.0.0")] * 2
    assert server.messages == [CONTENT] * 2


async def test_canceling_amid_a_group_closes_the_connection() -> None:
    async with ScriptedSmtp({"RCPT": [SILENCE, "250 Ok"]}, ["PIPELINING"]) as server, relay_to(server) as relay:
        task = asyncio.create_task(relay.send(envelope(), Begin()))
        await asyncio.wait_for(server.silent.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.ended[0].wait(), 10)
        assert states(await relay.send(envelope(), Begin())) == [("accepted", "2.0.0")]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_one_reply_too_many_refuses_nobody_in_the_place_of_another(offers: Sequence[str]) -> None:
    """The relay does not know ann, and answers MAIL twice: whose refusal it is cannot be told any more."""
    script: dict[str, Any] = {"MAIL": "250 2.1.0 Ok\r\n250 2.1.0 Ok", "RCPT TO:<ann@": "550 5.1.1 No such user"}
    async with ScriptedSmtp(script, offers) as server, relay_to(server) as relay:
        outcomes = await relay.send(envelope("ann@t", "bob@t", "cem@t"), Begin())
        assert [one.state for one in outcomes] == ["deferred"] * 3
        assert not any(one.of_address for one in outcomes)
        assert not server.messages
