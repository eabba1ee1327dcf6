"""APPEND as servers take it: with or without waiting, with limits, refused before, after or in the midst of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from transports._content import BytesContent
from transports.base import Place
from transports.errors import Missing, Permanent, Temporary, Unreachable
from transports.imap.append import append_message
from transports.imap.connection import ImapConnection

MAIL = BytesContent(b"Subject: x\r\n\r\na * b {5}\r\n")
LARGE = BytesContent(b"x" * 5000)
HUGE = BytesContent(b"x" * (64 << 20))

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talk(script: Script, *capabilities: str, timeout: float = 20) -> AsyncIterator[ImapConnection]:
    """Connect to a server that offers these and follows the script; fails if the script does."""
    served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(f"* OK [CAPABILITY {' '.join(('IMAP4rev1', *capabilities))}] ready\r\n".encode())
            await script(reader, writer)
            served.set_result(None)
        except Exception as error:  # noqa: BLE001  # it is the test's to raise
            served.set_exception(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, imap = await asyncio.get_running_loop().create_connection(
        lambda: ImapConnection("server", timeout), "127.0.0.1", port
    )
    try:
        await imap.greeting()
        yield imap
        await asyncio.wait_for(served, 20)
    finally:
        imap.abort("the test is over")
        server.close()


async def hear(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """Read a command; returns its tag, and the rest."""
    tag, _, command = (await reader.readline()).decode().rstrip("\r\n").partition(" ")
    return tag.encode(), command


async def test_it_waits_to_be_asked_and_tells_flags_time_and_size() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag, command = await hear(reader)
        assert command == 'APPEND "Gesendete Objekte" (\\Flagged \\Seen) " 7-Mar-2026 08:09:10 +0000" {25}'
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.write(b"* 3 EXISTS\r\n+ go on\r\n")
        assert await reader.readexactly(27) == MAIL.whole + b"\r\n"
        writer.write(tag + b" OK [APPENDUID 38505 3955] done\r\n")
        tag, command = await hear(reader)
        assert command == "NOOP"
        writer.write(tag + b" OK done\r\n")

    async with talk(script) as imap:
        when = datetime(2026, 3, 7, 8, 9, 10, tzinfo=UTC)
        place = await append_message(imap, "Gesendete Objekte", MAIL, {"seen", "flagged"}, when)
        assert place == Place("38505", "3955")
        assert (await imap.run("NOOP")).ok


@pytest.mark.parametrize(
    ("offered", "content", "literal"),
    [
        ("LITERAL+", MAIL, "{25+}"),
        ("LITERAL+", LARGE, "{5000+}"),
        ("LITERAL-", MAIL, "{25+}"),
        ("LITERAL-", LARGE, "{5000}"),
        ("IDLE", MAIL, "{25}"),
    ],
)
async def test_it_waits_only_where_the_server_wants_it(offered: str, content: BytesContent, literal: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag, command = await hear(reader)
        assert command == f'APPEND "Sent" () {literal}'
        if "+" not in literal:
            writer.write(b"+ \r\n")
        assert await reader.readexactly(content.size + 2) == content.whole + b"\r\n"
        writer.write(tag + b" OK done\r\n")

    async with talk(script, offered) as imap:
        assert await append_message(imap, "Sent", content, (), None) is None


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"NO [OVERQUOTA] it is full", Permanent, "is full: .*it is full"),
        (b"NO [TRYCREATE] make it", Missing, 'no folder "Sent"'),
        (b"NO [NONEXISTENT] none", Missing, 'no folder "Sent"'),
        (b"NO [TOOBIG] too large", Permanent, "does not append to the folder Sent.*too large"),
        (b"NO [LIMIT] wait", Temporary, "wait"),
        (b"BAD what", Permanent, "what"),
    ],
)
@pytest.mark.parametrize("offered", ["LITERAL+", "IDLE"])
async def test_a_refusal_is_told_and_the_connection_goes_on(
    answer: bytes, error: type[Exception], words: str, offered: str
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag, command = await hear(reader)
        if "+}" in command:
            await reader.readexactly(MAIL.size + 2)
        writer.write(tag + b" " + answer + b"\r\n")
        tag, command = await hear(reader)
        assert command == "NOOP"
        writer.write(tag + b" OK done\r\n")

    async with talk(script, offered) as imap:
        with pytest.raises(error, match=words):
            await append_message(imap, "Sent", MAIL, {"seen"}, None)
        assert (await imap.run("NOOP")).ok


async def test_what_is_beyond_the_limit_is_not_said_at_all() -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""

    async with talk(script, "APPENDLIMIT=4999") as imap:
        with pytest.raises(Permanent, match="no message beyond 4999 bytes, and this has 5000"):
            await append_message(imap, "Sent", LARGE, (), None)
        imap.abort("closed")


async def test_a_server_that_reads_no_further_is_given_up_and_no_more_is_kept_in_memory() -> None:
    heard = asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await hear(reader)
        await heard.wait()

    async with talk(script, "LITERAL+", timeout=0.5) as imap:
        with pytest.raises(Unreachable, match=r"no answer in 0\.5 seconds"):
            await append_message(imap, "Sent", HUGE, (), None)
        heard.set()


@pytest.mark.parametrize("offered", ["LITERAL+", "IDLE"])
async def test_a_connection_that_is_lost_in_the_midst_is_unreachable(offered: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, command = await hear(reader)
        if "+}" not in command:
            writer.write(b"+ \r\n")
        await reader.readexactly(100_000)

    async with talk(script, offered) as imap:
        with pytest.raises(Unreachable):
            await append_message(imap, "Sent", HUGE, (), None)
        with pytest.raises(Unreachable):
            await imap.run("NOOP")


async def test_a_canceled_one_ends_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await hear(reader)
        await reader.read()

    async with talk(script) as imap:
        working = asyncio.create_task(append_message(imap, "Sent", MAIL, (), None))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(working), 0.1)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        with pytest.raises(Unreachable):
            await imap.run("NOOP")
