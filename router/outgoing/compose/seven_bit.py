"""Whether a message may stand in another one as it is: in lines of 7 bits (RFC 2045 §2.7)."""

from typing import Final, Self

_LONGEST_LINE: Final = 998


class SevenBit:
    """Looks at a message piece by piece. `holds` is False as soon as it is known to need an encoding."""

    def __init__(self, boundary: str) -> None:
        """No line may hold the boundary of what is around it."""
        self._boundary = boundary.encode("ascii")
        self._line = b""  # the last one, as far as it has come
        self.holds = True

    @classmethod
    def of(cls, content: bytes, boundary: str) -> bool:
        """Look at a whole message."""
        look = cls(boundary)
        look.feed(content)
        return look.end()

    def feed(self, piece: bytes) -> Self:
        """Look at the next piece."""
        if not self.holds:
            return self
        text = self._line + piece
        lines = text.split(b"\r\n")
        self._line = lines[-1]
        whole = b"".join(lines)
        if self._line.endswith(b"\r"):
            whole = whole[:-1]
        self.holds = (
            text.isascii()
            and not any(control in whole for control in (b"\r", b"\n", b"\0"))
            and max(map(len, lines)) <= _LONGEST_LINE + 1
            and max(map(len, lines[:-1]), default=0) <= _LONGEST_LINE
            and self._boundary not in text
        )
        return self

    def end(self) -> bool:
        """Tell whether it held to its end."""
        return self.holds and len(self._line) <= _LONGEST_LINE and not self._line.endswith(b"\r")
