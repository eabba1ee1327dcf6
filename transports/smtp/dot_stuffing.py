"""Dot-stuffing: a message's content as it goes over the wire after DATA (RFC 5321 §4.5.2)."""

import re

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class DotStuffer:
    r"""Makes of the pieces of one message, cut anywhere, what is to be sent.

    Lines that begin with a dot get another (RFC 5321 §4.5.2). A bare CR or LF becomes CRLF (§2.3.8): to a server
    that takes `\n.\n` for the end of the data, the rest of the content would be commands.
    """

    def __init__(self) -> None:
        self._at_line_start = True
        self._held = b""  # a CR, until it is known what follows

    def stuff(self, piece: bytes) -> bytes:
        """Give what is to be sent for the next piece."""
        if self._held or piece.endswith(b"\r"):
            piece = self._held + piece
            self._held = piece[-1:] if piece.endswith(b"\r") else b""
            piece = piece.removesuffix(b"\r")
        if not piece:
            return b""
        if not piece.count(b"\r\n") == piece.count(b"\r") == piece.count(b"\n"):
            piece = _BARE.sub(b"\r\n", piece)
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = stuffed.endswith(b"\r\n")
        return stuffed

    def end(self) -> bytes:
        """Give what ends the data after the last piece."""
        rest = b"\r\n" if self._held else b""
        return rest + (b".\r\n" if self._at_line_start or rest else b"\r\n.\r\n")
