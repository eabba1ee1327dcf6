"""Where Postfix delivers what no test's own server takes: an LMTP server that keeps everything in memory."""

import contextlib
import re
import socketserver
import threading
from dataclasses import dataclass

_PATH = re.compile(rb"(?:FROM|TO):\s*<([^>]*)>", re.IGNORECASE)


@dataclass(frozen=True)
class Delivered:
    """One message as Postfix delivered it: its envelope, and its bytes with CRLF line ends."""

    sender: str
    recipients: tuple[str, ...]
    message: bytes


class Sink:
    """LMTP (RFC 2033) on a free `port`, in threads of its own, so that it works while a test blocks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._delivered: list[Delivered] = []
        self._server = _Server(("127.0.0.1", 0), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def received(self, address: str = "") -> list[Delivered]:
        """What came so far, in order; with `address`, only what has it as sender or recipient."""
        with self._changed:
            return [one for one in self._delivered if not address or address in (one.sender, *one.recipients)]

    def wait_for(self, count: int, address: str = "", timeout: float = 20.0) -> list[Delivered]:
        """As `received`, once there are at least `count`; TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received(address)) >= count, timeout):
                raise TimeoutError(f"{len(self.received(address))} of {count} messages came within {timeout:g} s")
            return self.received(address)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def keep(self, delivered: Delivered) -> None:
        """Called by the sessions."""
        with self._changed:
            self._delivered.append(delivered)
            self._changed.notify_all()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], sink: Sink) -> None:
        self.sink = sink
        super().__init__(address, _Session)


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        # Lost when Postfix is stopped in the middle; what was not answered it delivers again.
        with contextlib.suppress(ConnectionError):
            self._converse()

    def _converse(self) -> None:
        assert isinstance(self.server, _Server)
        sender, recipients = "", list[str]()
        self._say("220 sink.test LMTP")
        while line := self.rfile.readline():
            match line.split(None, 1)[0].upper().decode("ascii", "replace"):
                case "LHLO":
                    self._say("250-sink.test", "250-PIPELINING", "250-8BITMIME", "250 SMTPUTF8")
                case "MAIL":
                    sender, recipients = _address(line), []
                    self._say("250 2.1.0 ok")
                case "RCPT":
                    recipients.append(_address(line))
                    self._say("250 2.1.5 ok")
                case "DATA":
                    self._say("354 go on")
                    self.server.sink.keep(Delivered(sender, tuple(recipients), self._message()))
                    self._say(*("250 2.0.0 kept" for _ in recipients))
                case "RSET" | "NOOP":
                    self._say("250 2.0.0 ok")
                case "QUIT":
                    self._say("221 2.0.0 bye")
                    return
                case verb:
                    self._say(f"500 5.5.1 {verb} is not known")

    def _message(self) -> bytes:
        lines = list[bytes]()
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionResetError("lost in mid-message")
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


def _address(line: bytes) -> str:
    found = _PATH.search(line)
    if found is None:
        raise ConnectionResetError(f"no address in {line!r}")
    return found.group(1).decode()
