"""The bytes of a connection that is ready for mail: commands out, and replies in their order.

aiosmtplib connects, encrypts and logs in. It keeps one reply at a time and drops what comes besides, so that commands
cannot go out together (RFC 2920): from then on the connection is ours.
"""

import asyncio
from collections import deque
from typing import cast

from transports.smtp.reply import NoReply, Reply, ReplyReader


class Lost(Exception):
    """The connection ended, or is of no use: no answer came, or none that can be understood, or it was the last (421).

    `handed_over`: the content was sent to its end.
    """

    def __init__(self, words: str, code: str = "4.4.2", *, handed_over: bool = False) -> None:
        super().__init__(words)
        self.code = code
        self.handed_over = handed_over


class Wire(asyncio.Protocol):
    """Takes a connection over. Replies are read in the order of the commands that they answer."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass, but have its methods
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._fault: str | None = None
        self._is_full = False
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()
        transport.set_protocol(self)
        if transport.is_closing():
            self._fault = "the connection was lost"

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._fault is None:
            try:
                for reply in self._reader.feed(data):
                    self._replies.append(reply)  # those before one that cannot be read count
            except NoReply as error:
                self._fault = str(error)
            self._wake()

    def eof_received(self) -> bool:
        """Note that the server has ended."""
        self._end("the server closed it")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Note that it is over."""
        words = (getattr(error, "strerror", None) or str(error)) if error is not None else "the server closed it"
        self._end(words or type(error).__name__)
        self._is_over.set()

    def pause_writing(self) -> None:
        """Note that the server does not keep up."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        self._wake()

    # What a session calls

    @property
    def is_clean(self) -> bool:
        """Whether nothing came that nobody asked for, not even the end."""
        return self._fault is None and not self._replies and not self._reader.has_begun

    @property
    def has_news(self) -> bool:
        """Whether a reply is there, or none will come."""
        return bool(self._replies) or self._fault is not None

    def write(self, data: bytes) -> None:
        """Send it, in the background. Where the connection has ended, only reading tells."""
        if self._fault is None:
            self._transport.write(data)

    async def drain(self, timeout: float) -> bool:
        """Wait until the server keeps up; False where a reply or the end came first. Raises Lost after `timeout`."""
        while self._is_full and not self.has_news:
            try:
                await self._wait(self._loop.time() + timeout)
            except TimeoutError:
                raise Lost(f"the server read nothing more for {timeout:g} seconds") from None
        return not self.has_news

    async def reply(self, timeout: float) -> Reply:
        """Return the next reply. Raises Lost where none comes within `timeout` seconds, or ever."""
        deadline = self._loop.time() + timeout
        while not self._replies:
            if self._fault is not None:
                raise Lost(f"the connection was lost: {self._fault}")
            try:
                await self._wait(deadline)
            except TimeoutError:
                raise Lost(f"no answer came for {timeout:g} seconds") from None
        return self._replies.popleft()

    def close(self) -> None:
        """Send what was written, and close."""
        self._end("it is closed")
        self._transport.close()

    async def closed(self) -> None:
        """Wait until it is closed: what was written has gone out, and TLS has ended."""
        await self._is_over.wait()

    def abort(self) -> None:
        """Close at once, in whatever state it is."""
        self._end("it is closed")
        self._transport.abort()

    def _end(self, words: str) -> None:
        if self._fault is None:
            self._fault = words
            self._wake()

    async def _wait(self, deadline: float) -> None:
        """Wait until something happens. Raises TimeoutError at `deadline`, by the loop's clock."""
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, _give_up, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _give_up(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
