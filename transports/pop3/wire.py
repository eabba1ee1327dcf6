"""One POP3 connection (RFC 1939) by poplib, for a thread, as poplib blocks.

What poplib has not: SASL PLAIN, several commands on their way at once (RFC 2449 §6.6), contents byte for byte with
lines as long as real mail has them, and limits to what a server may say.
"""

import base64
import poplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from transports._net.sasl import Mechanism, redact
from transports.pop3.reply import Refused

CONTENT_LIMIT = 128 << 20
"""Bytes of one message."""

_LIST_LIMIT = 16 << 20
_LINE_LIMIT = 8192
_COMMANDS_AHEAD = 100


class Wire(poplib.POP3):
    """A connection whose socket is made already. What it raises: Refused, poplib.error_proto, OSError."""

    def __init__(self, ready: socket.socket, host: str) -> None:
        self._ready = ready
        self.capabilities: dict[str, list[str]] = {}
        try:
            super().__init__(host)
        except BaseException:
            self.close()
            raise

    def _create_socket(self, _timeout: float) -> socket.socket:
        return self._ready

    def close(self) -> None:
        """Close it, also where it is lost already."""
        with suppress(OSError):
            super().close()

    def capa(self) -> dict[str, list[str]]:
        """Ask for the capabilities, in upper case (RFC 2449 §5); none where the server does not know the command."""
        try:
            words = [line.decode("ascii", "replace").upper().split() for line in self.lines("CAPA")]
        except Refused:
            words = []
        self.capabilities = {name: arguments for name, *arguments in filter(None, words)}
        return self.capabilities

    def authenticate(self, mechanism: Mechanism) -> None:
        """Log in by SASL (RFC 5034)."""
        # Without an initial response, since a command's line ends at 255 bytes (RFC 5034 §4).
        self._say(f"AUTH {mechanism.name}")
        try:
            while not (line := self._require(b"+")).startswith(b"+OK"):
                said = mechanism.respond(_challenge(line))
                self._say("*" if said is None else base64.b64encode(said).decode())
        except Refused as refused:
            raise Refused(redact(refused.words, "", mechanism)) from None

    def do(self, *commands: str) -> None:
        """Run commands that are answered by one line each. Raises Refused for the first that is refused."""
        for some in self._portions(commands):
            self._say(*some)
            for _ in some:
                self._require(b"+OK")

    def lines(self, command: str) -> list[bytes]:
        """Run a command that is answered by a list. Raises Refused."""
        self._say(command)
        return self._multiline(_LIST_LIMIT).splitlines()

    def contents(self, commands: Sequence[str]) -> Iterator[bytes | Refused]:
        """Run commands that are answered by contents; yield each one's in order."""
        for some in self._portions(commands):
            self._say(*some)
            for _ in some:
                try:
                    yield self._multiline(CONTENT_LIMIT)
                except Refused as refused:
                    yield refused

    def _portions(self, commands: Sequence[str]) -> Iterator[Sequence[str]]:
        at_once = _COMMANDS_AHEAD if "PIPELINING" in self.capabilities else 1
        return (commands[start : start + at_once] for start in range(0, len(commands), at_once))

    def _say(self, *commands: str) -> None:
        self.sock.sendall("".join(f"{command}\r\n" for command in commands).encode())

    def _require(self, begin: bytes) -> bytes:
        line = self._line(_LINE_LIMIT)
        if line.startswith(b"-ERR"):
            raise Refused(line[4:].decode("utf-8", "replace").strip())
        if not line.startswith(begin):
            raise poplib.error_proto("the answer is no POP3")
        return line

    def _multiline(self, limit: int) -> bytes:
        self._require(b"+OK")
        lines: list[bytes] = []
        while (line := self._line(limit)) != b".\r\n":
            limit -= len(line)
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _line(self, limit: int) -> bytes:
        line = self.file.readline(limit)
        if not line:
            raise poplib.error_proto("the server ended it" if limit > 0 else "the answer is too long")
        if not line.endswith(b"\n"):
            raise poplib.error_proto("the answer is too long, or was cut short")
        return line


def _challenge(line: bytes) -> bytes:
    """Return what follows the "+"; nothing, where it is not base64, as some servers ask for the first response."""
    try:
        return base64.b64decode(line[1:].strip(), validate=True)
    except ValueError:
        return b""
