"""A private Postfix: three SMTP ports, TLS, AUTH through Dovecot, and a destination for everything it accepts.

What becomes of mail is told by its recipient's address:

| recipient                      |                                                                                   |
|--------------------------------|-----------------------------------------------------------------------------------|
| `refused…@`                    | refused with the words `REFUSED`                                                  |
| `deferred…@`                   | deferred with the words `DEFERRED`                                                |
| `denied…@`                     | gets the header `DENIED` on top, as of a border server that checked the sender    |
| `vouched…@`                    | gets the header `VOUCHED` on top, likewise                                        |
| `…@in.test`                    | goes to that mailbox in Dovecot                                                   |
| `…@port-N.smtp.test`, `.lmtp.` | goes to whatever listens on port N of 127.0.0.1: `domain_for(N)`                  |
| a domain given to `route`      | goes where that says                                                              |
| `*.test`, `example.com` …      | is kept: `received()`, `wait_for()`                                               |
| any other domain               | refused: relay access denied                                                      |
"""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from tests.servers.dovecot import Dovecot
from tests.servers.installed import as_root, program
from tests.servers.ports import free_port
from tests.servers.postfix_conf import DEFERRED, DENIED, REFUSED, VOUCHED, Plan, write_configuration
from tests.servers.process import end, spawn, wait_until
from tests.servers.routes import Routes, next_hop
from tests.servers.sink import Delivered, Sink
from tests.servers.tls import Tls

__all__ = ["DEFERRED", "DENIED", "REFUSED", "VOUCHED", "Delivered", "Postfix"]

HOST = "127.0.0.1"


class Postfix:
    """`smtp` takes mail from anyone and offers STARTTLS and AUTH; `submission` and `smtps` want AUTH, over TLS.

    `smtps` speaks TLS from the start. AUTH takes Dovecot's mailboxes and its `PASSWORD`.
    """

    def __init__(self, tls: Tls, dovecot: Dovecot) -> None:
        program("postfix")
        self._root = as_root()
        self.smtp, self.submission, self.smtps = (free_port() for _ in range(3))
        # Unix socket names end at 107 bytes, and pytest's own folders are long.
        self._folder = Path(tempfile.mkdtemp(prefix="er-postfix-"))
        self.log_file = self._folder / "log"
        self.log_file.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._sink = Sink()
        self._routes = Routes(next_hop(self._sink.port, "lmtp"))
        self._routes.add("in.test", next_hop(dovecot.lmtp, "lmtp"))
        plan = Plan(
            ports={"smtp": self.smtp, "submission": self.submission, "smtps": self.smtps},
            routes=self._routes.port,
            auth_socket=dovecot.auth_socket,
        )
        write_configuration(self._folder, plan, tls)
        self._folder.chmod(0o755)
        self._as_root("install", "-d", "-o", "postfix", str(self._folder / "data"))
        self._as_root("install", "-d", str(self._folder / "queue"))
        # Makes the queue's folders, with the owners that Postfix wants.
        self._as_root(program("postfix"), "-c", str(self._folder / "etc"), "check")
        self.start()

    # Life

    def start(self) -> None:
        """Start, on the same ports with the same queue; return when it answers."""
        master = subprocess.check_output(
            [program("postconf"), "-c", str(self._folder / "etc"), "-h", "daemon_directory"], text=True
        )
        command = [f"{master.strip()}/master", "-c", str(self._folder / "etc"), "-s"]
        process = spawn(command, self.log_file, self._root)
        self._process = process
        wait_until(lambda: process.poll() is not None or self._answers(), "Postfix answers")
        if process.poll() is not None:
            raise RuntimeError(f"Postfix did not start:\n{self.log()}")

    def stop(self) -> None:
        """Stop in order. Does nothing when it is not running."""
        if self._process is not None:
            end(self._process, [self.smtp, self.submission, self.smtps])
            self._process = None

    def kill(self) -> None:
        """Kill every process of it at once, as a power failure would."""
        if self._process is not None and self._process.poll() is None:
            # The master leads a group of all its processes.
            master = int((self._folder / "queue" / "pid" / "master.pid").read_text())
            self._as_root("kill", "-KILL", "--", f"-{master}")
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good, and remove the folder with the queue."""
        self.stop()
        self._sink.close()
        self._routes.close()
        self._as_root("rm", "-rf", str(self._folder / "queue"), str(self._folder / "data"))
        shutil.rmtree(self._folder)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    # Mail

    def received(self, address: str = "") -> list[Delivered]:
        """Return what was kept so far, in order; with `address`, only what has it as sender or recipient."""
        return self._sink.received(address)

    def wait_for(self, count: int, address: str = "", timeout: float = 20.0) -> list[Delivered]:
        """As `received`, once there are at least `count`; TimeoutError with the log after `timeout` seconds.

        It blocks: a test that itself serves what Postfix waits for calls it through `asyncio.to_thread`.
        """
        return self._sink.wait_for(count, address, timeout)

    def queued(self) -> int:
        """How many messages it has taken and not delivered yet."""
        command = [program("postqueue"), "-c", str(self._folder / "etc"), "-j"]
        return len(subprocess.run([*self._root, *command], check=True, capture_output=True).stdout.splitlines())

    def route(self, domain: str, where: int | Path, protocol: Literal["smtp", "lmtp"] = "smtp") -> None:
        """Send mail for `domain` to a listener on a port of 127.0.0.1, or at a Unix socket, from now on.

        For a Postfix of the test's own; with a shared one `domain_for` disturbs nobody.
        """
        self._routes.add(domain, next_hop(where, protocol))

    def configure(self, lines: str) -> None:
        """Add lines to main.cf, and restart. For a Postfix of the test's own."""
        main = self._folder / "etc" / "main.cf"
        main.write_text(main.read_text() + lines)
        os.utime(main, (0, 0))
        self.restart()

    @staticmethod
    def domain_for(port: int, protocol: Literal["smtp", "lmtp"] = "smtp") -> str:
        """Return a domain whose mail goes to a listener on `port` of 127.0.0.1."""
        return f"port-{port}.{protocol}.test"

    # Inside

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.smtp), timeout=20) as connection:
                if connection.recv(4) != b"220 ":
                    return False
                connection.sendall(b"QUIT\r\n")
                return True
        except ConnectionError:
            return False

    def _as_root(self, *command: str) -> None:
        subprocess.run([*self._root, *command], check=True, capture_output=True)
