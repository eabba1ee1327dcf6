"""Postfix's transport map, asked for each recipient, so that a test can change it at any time without a reload."""

import contextlib
import re
import socketserver
import threading
from pathlib import Path

_OF_A_PORT = re.compile(r"port-(\d+)\.(smtp|lmtp)\.test")
_NEXT_HOP = {"smtp": "smtp:[127.0.0.1]:{}", "lmtp": "lmtp:inet:127.0.0.1:{}"}


def next_hop(where: int | Path, protocol: str) -> str:
    """Return how transport(5) writes an SMTP or LMTP server on a port of 127.0.0.1, or an LMTP server's Unix socket."""
    return f"lmtp:unix:{where}" if isinstance(where, Path) else _NEXT_HOP[protocol].format(where)


class Routes:
    """Next hops by recipient domain, served on a free `port` in Postfix's socketmap protocol (socketmap_table(5))."""

    def __init__(self, otherwise: str) -> None:
        self._otherwise = otherwise
        self._by_domain: dict[str, str] = {}
        self._server = _Server(("127.0.0.1", 0), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def add(self, domain: str, hop: str) -> None:
        self._by_domain[domain.lower()] = hop

    def find(self, recipient: str) -> str:
        """Every recipient has a next hop, so that nothing leaves this machine."""
        domain = recipient.rpartition("@")[2].lower()
        of_a_port = _OF_A_PORT.fullmatch(domain)
        if of_a_port:
            return next_hop(int(of_a_port[1]), of_a_port[2])
        return self._by_domain.get(domain, self._otherwise)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], routes: Routes) -> None:
        self.routes = routes
        super().__init__(address, _Session)


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while length := self._digits():
                # A netstring: "17:map key,", where the key is the recipient.
                key = self.rfile.read(int(length) + 1)[:-1].decode().partition(" ")[2]
                assert isinstance(self.server, _Server)
                answer = f"OK {self.server.routes.find(key)}".encode()
                self.wfile.write(b"%d:%s," % (len(answer), answer))

    def _digits(self) -> bytes:
        digits = b""
        while (byte := self.rfile.read(1)) not in (b":", b""):
            digits += byte
        return digits
