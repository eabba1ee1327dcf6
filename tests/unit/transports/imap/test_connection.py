"""A connection to a server that says, byte by byte, what the test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from transports.errors import Permanent, Unreachable
from transports.imap.connection import ImapConnection
from transports.imap.decode import Response, fetched, searched


class Script:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.tag = b""

    async def hears(self, start: str) -> bytes:
        """Read a command, and check how it begins."""
        line = await self.reader.readline()
        self.tag, _, command = line.rstrip(b"\r\n").partition(b" ")
        assert command.startswith(start.encode()), line
        return command

    async def says(self, *packets: bytes) -> None:
        """Send packets on their own, in which TAG stands for the tag of the last command."""
        for packet in packets:
            self.writer.write(packet.replace(b"TAG", self.tag))
            await self.writer.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def talk(script: Callable[[Script], Awaitable[None]], timeout: float = 20) -> AsyncIterator[ImapConnection]:
    """Connect to a server that follows the script; fails if the script does."""
    served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n")
            await script(Script(reader, writer))
            served.set_result(None)
        except Exception as error:  # noqa: BLE001  # it is the test's to raise
            served.set_exception(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: ImapConnection("server", timeout), "127.0.0.1", port
    )
    try:
        await protocol.greeting()
        yield protocol
        await asyncio.wait_for(served, 20)
    finally:
        protocol.abort("the test is over")
        server.close()


async def test_reply_of_many_lines() -> None:
    async def script(server: Script) -> None:
        await server.hears("UID FETCH 1:5000 (UID)")
        lines = b"".join(b"* %d FETCH (UID %d)\r\n" % (n, n) for n in range(1, 5001))
        await server.says(lines + b"TAG OK done\r\n")

    async with talk(script) as imap:
        reply = await imap.run("FETCH", "1:5000", "(UID)", uid=True)
        assert [(fetched(response) or {})[b"UID"] for response in reply.data] == [b"%d" % n for n in range(1, 5001)]


async def test_content_that_looks_like_protocol() -> None:
    literal = b"a * b\r\n* 2 EXISTS\r\nTAG OK {5}\r\n"

    async def script(server: Script) -> None:
        await server.hears("UID FETCH 1 (BODY.PEEK[])")
        await server.says(
            b"* OK look out for {5}\r\n",
            b'* 1 FETCH (UID 7 ENVELOPE ("a * b (:-) {3}" ((NIL NIL "x)" "\\"{5}"))) BODY[] {%d}\r\n' % len(literal),
            # Not by `says`, which would put in the tag.
        )
        server.writer.write(literal)
        await server.says(b' FLAGS (\\Seen) INTERNALDATE " 1-Jan-2026 10:00:00 +0100")\r\n', b"TAG OK done {5}\r\n")

    async with talk(script) as imap:
        reply = await imap.run("FETCH", "1", "(BODY.PEEK[])", uid=True)
        assert reply.words == "done {5}"
        assert fetched(reply.data[1]) == {
            b"UID": b"7",
            b"ENVELOPE": [b"a * b (:-) {3}", [[None, None, b"x)", b'"{5}']]],
            b"BODY[]": literal,
            b"FLAGS": [b"\\Seen"],
            b"INTERNALDATE": b" 1-Jan-2026 10:00:00 +0100",
        }


async def test_unbalanced_parentheses_spoil_only_their_own_response() -> None:
    async def script(server: Script) -> None:
        await server.hears("UID FETCH")
        await server.says(b"* 1 FETCH (UID 1 X (((\r\n* 2 FETCH (UID 2 X)))\r\n* 3 FETCH (UID 3)\r\nTAG OK done\r\n")

    async with talk(script) as imap:
        reply = await imap.run("FETCH", "1:3", "(UID)", uid=True)
        assert [fetched(response) for response in reply.data] == [None, None, {b"UID": b"3"}]


@pytest.mark.parametrize(
    ("flood", "words"),
    [(b"* " + b"x" * (17 << 20), "a line of more than"), (b"* 1 FETCH (BODY[] {99999999999}\r\n", "a literal of")],
)
async def test_limits_end_the_connection(flood: bytes, words: str) -> None:
    async def script(server: Script) -> None:
        await server.hears("NOOP")
        server.writer.write(flood)

    async with talk(script) as imap:
        with pytest.raises(Unreachable, match=words):
            await imap.run("NOOP")


async def test_bye_in_mid_command() -> None:
    async def script(server: Script) -> None:
        await server.hears("UID FETCH")
        await server.says(b"* 1 FETCH (UID 1)\r\n* BYE we are going down\r\n")

    async with talk(script) as imap:
        with pytest.raises(Unreachable, match="server: the server closed the connection: we are going down"):
            await imap.run("FETCH", "1", "(UID)", uid=True)
        with pytest.raises(Unreachable, match="going down"):
            await imap.run("NOOP")


async def test_loss_of_the_connection_fails_all_who_wait() -> None:
    async def script(server: Script) -> None:
        await server.hears("NOOP")

    async with talk(script) as imap:
        commands = [imap.run("NOOP"), imap.run("STORE", "1", "+FLAGS", "(x)"), imap.idle_for(600)]
        failures = await asyncio.wait_for(asyncio.gather(*commands, return_exceptions=True), 20)
        assert [type(failure) for failure in failures] == [Unreachable] * 3
        assert "the connection was lost" in str(failures[0])


async def test_loss_of_the_connection_ends_idling_and_resting() -> None:
    async def script(server: Script) -> None:
        await server.hears("IDLE")
        await server.says(b"+ idling\r\n")

    async with talk(script) as imap:
        with pytest.raises(Unreachable):
            await asyncio.wait_for(imap.idle_for(600), 20)
        with pytest.raises(Unreachable):
            await asyncio.wait_for(imap.rest(600), 20)


async def test_silence_ends_the_connection_and_a_late_reply_harms_nobody() -> None:
    async def script(server: Script) -> None:
        await server.hears("NOOP")
        assert await server.reader.read() == b""
        with suppress(ConnectionError):
            await server.says(b"TAG OK late\r\n")

    async with talk(script, timeout=0.05) as imap:
        with pytest.raises(Unreachable, match=r"no answer to NOOP in 0\.05 seconds"):
            await imap.run("NOOP")
        with pytest.raises(Unreachable, match="no answer to NOOP"):
            await imap.run("CAPABILITY")


async def test_cancelled_command_ends_the_connection() -> None:
    async def script(server: Script) -> None:
        await server.hears("NOOP")
        heard.set()
        assert await server.reader.read() == b""

    heard = asyncio.Event()
    async with talk(script) as imap:
        command = asyncio.create_task(imap.run("NOOP"))
        await heard.wait()
        command.cancel()
        with pytest.raises(asyncio.CancelledError):
            await command
        with pytest.raises(Unreachable, match="a canceled NOOP"):
            await imap.run("NOOP")


async def test_one_command_at_a_time() -> None:
    async def script(server: Script) -> None:
        for number in range(3):
            await server.hears(f"UID SEARCH {number}")
            await server.says(b"* SEARCH %d\r\n" % number, b"TAG OK done\r\n")

    async with talk(script) as imap:
        replies = await asyncio.gather(*(imap.run("SEARCH", str(number), uid=True) for number in range(3)))
        assert [searched(reply.data[0]) for reply in replies] == [[0], [1], [2]]


async def test_unsolicited_responses_during_a_command() -> None:
    async def script(server: Script) -> None:
        await server.hears("SELECT")
        await server.says(b"* 3 EXISTS\r\n* OK [UIDVALIDITY 17] ok\r\n* OK [UIDNEXT 9] ok\r\nTAG OK done\r\n")
        await server.hears("UID FETCH 1")
        await server.says(b"* 4 EXISTS\r\n* 1 FETCH (UID 1)\r\nTAG OK done\r\n")
        await server.hears("NOOP")
        await server.says(b"* 2 EXPUNGE\r\n* VANISHED 5:6,9\r\n* VANISHED (EARLIER) 1:2\r\nTAG OK done\r\n")
        await server.hears("NOOP")
        await server.says(b"* 1 EXISTS\r\nTAG OK done\r\n")

    async with talk(script) as imap:
        await imap.select("INBOX")
        assert (imap.known.exists, imap.known.news) == (3, False)
        assert (imap.known.codes["UIDVALIDITY"], imap.known.codes["UIDNEXT"]) == ("17", "9")
        await imap.run("FETCH", "1", "(UID)", uid=True)
        assert (imap.known.exists, imap.known.news) == (4, True)
        imap.known.news = False
        await imap.run("NOOP")
        assert imap.known.exists == 0
        await imap.run("NOOP")
        assert imap.known.news


async def test_every_status_is_heard_also_while_there_is_news() -> None:
    async def script(server: Script) -> None:
        await server.hears("SELECT")
        await server.says(b"* 0 EXISTS\r\nTAG OK done\r\n")
        await server.hears("NOOP")
        await server.says(b"* 1 EXISTS\r\n* STATUS Box (UIDNEXT 5)\r\n* status Other (UIDNEXT 6)\r\nTAG OK done\r\n")

    heard: list[bytes] = []

    def note(response: Response) -> bool:
        heard.append(response[0])
        return False

    async with talk(script) as imap:
        imap.on_status = note
        await imap.select("INBOX")
        await imap.run("NOOP")
        assert imap.known.news
        assert heard == [b"* STATUS Box (UIDNEXT 5)", b"* status Other (UIDNEXT 6)"]


async def test_idle_ends_at_news_and_for_another_command() -> None:
    async def script(server: Script) -> None:
        await server.hears("SELECT")
        await server.says(b"* 0 EXISTS\r\nTAG OK done\r\n")
        await server.hears("IDLE")
        await server.says(b"+ idling\r\n", b"* OK still here\r\n", b"* 1 EXISTS\r\n")
        assert await server.reader.readline() == b"DONE\r\n"
        await server.says(b"TAG OK done\r\n")
        await server.hears("IDLE")
        await server.says(b"+ idling\r\n")
        idling.set()
        assert await server.reader.readline() == b"DONE\r\n"
        await server.says(b"TAG OK done\r\n")
        await server.hears("NOOP")
        await server.says(b"TAG OK done\r\n")

    idling = asyncio.Event()
    async with talk(script) as imap:
        await imap.select("INBOX")
        await imap.idle_for(600)
        assert imap.known.news
        imap.known.news = False
        second = asyncio.create_task(imap.idle_for(600))
        await idling.wait()
        await imap.run("NOOP")
        await second


async def test_done_that_is_not_answered_ends_a_half_open_connection() -> None:
    async def script(server: Script) -> None:
        await server.hears("IDLE")
        await server.says(b"+ idling\r\n")
        assert await server.reader.readline() == b"DONE\r\n"
        assert await server.reader.read() == b""

    async with talk(script, timeout=0.05) as imap:
        with pytest.raises(Unreachable, match=r"no answer to IDLE in 0\.05 seconds"):
            await imap.idle_for(0.01)


async def test_idle_refused_is_not_offered_any_more() -> None:
    async def script(server: Script) -> None:
        await server.hears("IDLE")
        await server.says(b"TAG NO not today\r\n")

    async with talk(script) as imap:
        await imap.idle_for(600)
        assert imap.known.capabilities == {"IMAP4REV1"}


async def test_challenges_are_answered_and_one_too_many_is_cancelled() -> None:
    async def script(server: Script) -> None:
        await server.hears("AUTHENTICATE PLAIN")
        await server.says(b"+ \r\n")
        assert await server.reader.readline() == b"c2VjcmV0\r\n"
        await server.says(b"+ more\r\n")
        assert await server.reader.readline() == b"*\r\n"
        await server.says(b"TAG BAD canceled\r\n")

    said: list[bytes | None] = [None, b"secret"]
    async with talk(script) as imap:
        assert (await imap.run("AUTHENTICATE", "PLAIN", respond=lambda _: said.pop())).result == "BAD"


async def test_what_comes_with_the_answer_to_starttls_is_thrown_away() -> None:
    async def script(server: Script) -> None:
        await server.hears("STARTTLS")
        await server.says(
            b"TAG OK go on\r\n* CAPABILITY INJECTED\r\n* OK [UIDVALIDITY 666] x\r\n* BYE injected\r\n* half"
        )
        await server.reader.read(1)

    async with talk(script) as imap:
        with pytest.raises(OSError):  # noqa: PT011  # TLS cannot begin here; which error that is does not matter
            await imap.starttls(ssl.create_default_context(), "localhost")
        assert imap.known.capabilities == set()
        assert imap.known.codes == {}


async def test_answer_to_nothing_ends_the_connection() -> None:
    async def script(server: Script) -> None:
        await server.hears("NOOP")
        await server.says(b"XX99 OK whose is this\r\n")

    async with talk(script) as imap:
        with pytest.raises(Unreachable, match="an answer to nothing we asked"):
            await imap.run("NOOP")


async def test_line_breaks_make_no_second_command() -> None:
    async def script(server: Script) -> None:
        await server.hears("NOOP")
        await server.says(b"TAG OK done\r\n")

    async with talk(script) as imap:
        with pytest.raises(Permanent):
            await imap.run("STORE", "1", "x\r\nA1 DELETE INBOX")
        await imap.run("NOOP")
