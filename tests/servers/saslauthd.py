"""Who may log in, told to servers that ask saslauthd (Cyrus SASL): a Unix socket that this process answers."""

import socketserver
import struct
import threading
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path


class Saslauthd:
    """Answers at `path` until it is closed; `right(user, password)` says whether they are."""

    def __init__(self, path: Path, right: Callable[[str, str], bool]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # The user's domain comes apart, as the realm.
                user, password, _service, _realm = (_read(self.rfile) for _ in range(4))
                answer = b"OK" if right(user, password) else b"NO"
                self.wfile.write(struct.pack(">H", len(answer)) + answer)

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        path.chmod(0o777)  # the server that asks is another user
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _read(stream: BufferedIOBase) -> str:
    (length,) = struct.unpack(">H", stream.read(2))
    return stream.read(length).decode()
