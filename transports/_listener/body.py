"""Reading the content of one message off a connection (RFC 5321 §4.1.1.4, §4.5.2)."""

import asyncio

from transports._listener.limits import Budget
from transports.base import Acceptance

TOO_LARGE = Acceptance(552, "5.3.4 The message is larger than we take")
TOO_MUCH = Acceptance(452, "4.3.1 Too much mail at once, please try again later")

_TURN = 100  # pieces, after which others have theirs: a message can be made of lines that end with a dot
_END = b"\r\n.\r\n"


class Body:
    """The content of one message; `size` bytes of the budget are held until `drop`."""

    def __init__(self, max_size: int, budget: Budget) -> None:
        self._max_size = max_size
        self._budget = budget
        self._raw = bytearray()
        self.size = 0

    async def read(self, reader: asyncio.StreamReader) -> bytes | Acceptance:
        """Read up to the line that is only a dot, and no further; what is refused is read as well, and not kept.

        Only CRLF ends a line. What other servers may take for an end of the content (a dot between bare LF or CR) is
        content, so that nobody can smuggle a second message in by it.
        """
        refusal: Acceptance | None = None
        total = pieces = 0
        while not (self._raw.endswith(_END) or (total == len(self._raw) and self._raw == b".\r\n")):
            try:
                chunk = await reader.readuntil(b".\r\n")
            except asyncio.LimitOverrunError as error:
                chunk = await reader.read(error.consumed)
            total += len(chunk)
            pieces += 1
            if pieces % _TURN == 0:
                await asyncio.sleep(0)  # of what has come already, none is waited for
            self._raw += chunk
            if refusal is None and total > self._max_size + len(_END):
                refusal = TOO_LARGE
            elif refusal is None and not self._hold(len(chunk)):
                refusal = TOO_MUCH
            if refusal is not None:
                self.drop()
        return refusal or self._unstuffed()

    def drop(self) -> None:
        """Forget all of it but what may begin the end."""
        del self._raw[: -len(_END)]
        self._budget.give(self.size)
        self.size = 0

    def _hold(self, size: int) -> bool:
        if not self._budget.take(size):
            return False
        self.size += size
        return True

    def _unstuffed(self) -> bytes:
        content = self._raw[: -len(b".\r\n")]
        self._raw.clear()
        if content.startswith(b"."):
            del content[0]
        return bytes(content.replace(b"\r\n.", b"\r\n"))
