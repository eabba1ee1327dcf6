"""The content of a message that is sent: what is known of it beforehand, and its bytes, piece by piece."""

from collections.abc import AsyncIterator
from typing import Protocol

CHUNK = 65536
"""Bytes of a piece, at most."""


class Content(Protocol):
    """A message with CRLF line ends. It can be read several times, from the beginning: one for each transaction.

    `size` is that of all pieces together, in bytes. `is_seven_bit`: no byte of it is above 127. `headers_are_ascii`
    says the same of the message's own header block (RFC 6532 is needed where it is not so).
    """

    @property
    def size(self) -> int: ...
    @property
    def is_seven_bit(self) -> bool: ...
    @property
    def headers_are_ascii(self) -> bool: ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces, of `CHUNK` bytes at most. What it raises ends the transaction before anything is taken."""
        ...


class BytesContent:
    """A message that lies in memory as a `whole`."""

    def __init__(self, content: bytes) -> None:
        self.whole = content
        self.size = len(content)
        self.is_seven_bit = content.isascii()
        self.headers_are_ascii = self.is_seven_bit or content.partition(b"\r\n\r\n")[0].isascii()

    @property
    def is_small(self) -> bool:
        """Whether it is one piece."""
        return self.size <= CHUNK

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size, CHUNK):
            yield self.whole[start : start + CHUNK]


def as_content(content: bytes | Content) -> Content:
    """Give bytes the shape of a content."""
    return BytesContent(content) if isinstance(content, bytes) else content
