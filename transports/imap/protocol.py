"""aioimaplib's protocol with another receiving half: IMAP's commands, one at a time, each with a deadline.

A connection that ends (lost, BYE, silence, a cancelled command) stays so: every later command raises Unreachable.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

from aioimaplib import AUTH, SELECTED, AioImapException, Command
from aioimaplib import Response as LibraryResponse

from transports._net.tls_link import TlsLink
from transports.base import Permanent, TransportError
from transports.imap.decode import Splitter
from transports.imap.encode import folder_name
from transports.imap.receive import Exchange, ImapReceiver
from transports.imap.reply import Reply, words_of

FOREIGN = (OSError, EOFError, RuntimeError, AioImapException, asyncio.InvalidStateError, asyncio.LimitOverrunError)
"""What the socket, TLS, asyncio, uvloop and aioimaplib raise where a connection has failed."""


class ImapProtocol(ImapReceiver):
    """One connection. `peer` names the server in errors; `timeout` is how many seconds it may be silent."""

    def __init__(self, peer: str, timeout: float, splitter: Splitter | None = None) -> None:
        super().__init__(peer, timeout, splitter)
        self._turn = asyncio.Lock()
        self._wanted = 0

    async def greeting(self) -> None:
        """Wait for the server's first words (RFC 3501 §7.1)."""
        await self._answered(self._greeted)

    async def run(self, name: str, *arguments: str, uid: bool = False, answers: Iterable[str] = ()) -> Reply:
        """Give one command and return the reply, whatever it is; `answers` go to the server's continuation requests.

        Raises Unreachable without a connection, Permanent for arguments that no command line can hold.
        """
        try:
            command = Exchange(name, self.new_tag(), *arguments, prefix="UID" if uid else "")
            str(command).encode()
        except UnicodeEncodeError:
            raise Permanent(f"half a character (a lone surrogate) cannot be said to {self.peer}") from None
        except ValueError as error:
            raise Permanent(str(error)) from None
        command.answers.extend(answers)
        response = await self.execute(command)
        return Reply(response.result, words_of(response.lines[-1]), tuple(response.lines[:-1]))

    async def execute(self, command: Command, scrub: str | None = None) -> LibraryResponse:  # noqa: ARG002  # nothing is logged here
        """Give one command. The lines are the Responses before the tagged one, and then its words."""
        with self.wanted():
            await self._turn.acquire()
        try:
            return await self._execute(command)
        finally:
            self._turn.release()

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """While somebody waits for the connection, nobody idles on it."""
        self._wanted += 1
        self._wake.set()
        try:
            yield
        finally:
            self._wanted -= 1

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for the connection."""
        return self._wanted > 0

    async def idle_for(self, seconds: float) -> None:
        """IDLE (RFC 2177) until there is news, the connection is wanted, or the seconds are over."""
        async with self._turn:
            self._wake.clear()
            if self.news.is_set() or self._wanted:
                return
            command = Command("IDLE", self.new_tag())
            self._idle_event.clear()
            with self._whole(command):
                self._give(command)
                await self._answered(self._idle_event)
                await self._pause(seconds)
                if self._command is command:
                    self.send("DONE")
                    await self._answered(command)
                self._check()
            if command.response.result != "OK":
                # It is offered and refused: do without.
                self.capabilities.discard("IDLE")

    async def rest(self, seconds: float) -> None:
        """Say nothing until there is news, the connection is wanted, or the seconds are over."""
        self._check()
        self._wake.clear()
        if not self.news.is_set() and not self._wanted:
            await self._pause(seconds)
        self._check()

    def named(self, folder: str) -> str:
        """Return the folder's name as this connection says it."""
        return folder_name(folder, utf8="UTF8=ACCEPT" in self.enabled)

    async def select(self, mailbox: str = "INBOX", *parameters: str, read_only: bool = False) -> Reply:
        """Select a folder, its name as it goes into the command; or only look at it, which changes nothing."""
        self.state = AUTH
        self.news.clear()
        for code in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ", "PERMANENTFLAGS"):
            self.codes.pop(code, None)
        reply = await self.run("EXAMINE" if read_only else "SELECT", mailbox, *parameters)
        if reply.ok:
            self.state = SELECTED
        return reply

    async def capability(self) -> None:
        """Ask what the server can do, unless it has said so since `capabilities` was last cleared."""
        if not self.capabilities:
            (await self.run("CAPABILITY")).require(f"{self.peer} does not say what it can do")

    async def starttls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS (RFC 3501 §6.2.1). What came in clear with or after the answer is thrown away, unread."""
        (await self.run("STARTTLS")).require(f"{self.peer} refuses STARTTLS")
        self.capabilities.clear()
        self.codes.clear()
        network = self._link
        assert network is not None
        link = TlsLink(context, host, self, self._go_on_in)
        network.set_protocol(link)
        link.connection_made(network)
        await link.handshake_done()
        self._check()

    async def close(self) -> None:
        """Say goodbye for at most two seconds, and close."""
        if self._failure is None:
            with suppress(TransportError, TimeoutError):
                async with asyncio.timeout(2):
                    await self.run("LOGOUT")
        self.abort("closed")
        await self._closed.wait()

    # Inside

    def _go_on_in(self, link: asyncio.BaseTransport) -> None:
        self._link = cast("asyncio.Transport", link)
        self._deaf = False

    async def _execute(self, command: Command) -> LibraryResponse:
        try:
            with self._whole(command):
                self._give(command)
                await self._answered(command)
                self._check()
        finally:
            data, self._data = self._data, []
        result, (words, *_) = command.response
        return LibraryResponse(result, [*data, words])

    @contextmanager
    def _whole(self, command: Command) -> Iterator[None]:
        """End the connection with a command that is not brought to its end: its answer would be taken for another's."""
        try:
            yield
        except asyncio.CancelledError:
            self.abort(f"a cancelled {command.name}")
            raise
        except FOREIGN as error:
            # aioimaplib's own show the command, and that may hold the password.
            words = "" if isinstance(error, AioImapException) else str(error)
            self._lose(f"{command.name} failed: {words or type(error).__name__}")
            self._check()
        finally:
            self._command = None

    def _give(self, command: Command) -> None:
        self._check()
        self._data = []
        self._received_bytes = 0
        self._command = command
        self.send(str(command))

    async def _answered(self, answer: Command | asyncio.Event) -> None:
        """Wait for an answer, as long as the server is not silent for too long."""
        try:
            async with asyncio.timeout(self.timeout) as self._deadline:
                await answer.wait()
        except TimeoutError:
            about = f" to {answer.name}" if isinstance(answer, Command) else ""
            self.silent = True
            self._lose(f"no answer{about} in {self.timeout:g} seconds")
        finally:
            self._deadline = None
        self._check()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
