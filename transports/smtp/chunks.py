"""A message's content as it goes over the wire after DATA."""

import re
from collections.abc import Iterator

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def dot_stuffed_chunks(content: bytes, size: int = 65536) -> Iterator[tuple[bytes, bool]]:
    r"""Yield the content in chunks of about `size` bytes, and with each whether it is the last, which ends the data.

    Lines that begin with a dot get another (RFC 5321 §4.5.2). A bare CR or LF becomes CRLF (§2.3.8): to a server
    that takes `\n.\n` for the end of the data, the rest of the content would be commands.
    """
    start, line_start = 0, True
    while True:
        end = start + size
        if content[end - 1 : end + 1] == b"\r\n":
            end += 1
        chunk = content[start:end]
        if not chunk.count(b"\r\n") == chunk.count(b"\r") == chunk.count(b"\n"):
            chunk = _BARE.sub(b"\r\n", chunk)
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        if chunk:
            line_start = chunk.endswith(b"\r\n")
        if end >= len(content):
            yield stuffed + (b".\r\n" if line_start else b"\r\n.\r\n"), True
            return
        yield stuffed, False
        start = end
